import { assertEquals } from "@std/assert";
import { NBD_CMD, NBD_CMD_FLAG, NBD_ERROR } from "../protocol/nbd.ts";
import { NbdRequestHeader } from "../protocol/nbd_transmission.ts";
import { checkRequest, type RequestRules } from "./nbd_check.ts";

const MIB = 1024 * 1024;
const SIZE = 2 ** 40;
const RULES: RequestRules = {
  sizeBytes: SIZE,
  sectorBytes: 512,
  structuredReplies: true,
  metaContextSet: true,
  fastZero: true,
};
const { read, write, flush, trim, cache, writeZeroes, blockStatus } = NBD_CMD;
const { fua, noHole, df, reqOne, fastZero } = NBD_CMD_FLAG;
const { none, einval, enospc, eoverflow, enotsup } = NBD_ERROR;
const RANGED = [read, write, trim, cache, writeZeroes, blockStatus];

interface Wanted {
  flags?: number;
  offset?: number;
  length?: number;
  rules?: Partial<RequestRules>;
}

function errorOf(command: number, { flags = 0, offset = 0, length = 4096, rules }: Wanted): number {
  const header = new NbdRequestHeader();
  Object.assign(header, { command, flags, offsetBytes: offset, lengthBytes: length });
  return checkRequest(header, { ...RULES, ...rules })?.nbdError ?? none;
}

Deno.test("checkRequest() lets whole sectors within the export pass", () => {
  for (const command of RANGED) {
    assertEquals(errorOf(command, {}), none);
    assertEquals(errorOf(command, { offset: SIZE - 512, length: 512 }), none);
    assertEquals(errorOf(command, { offset: 0, length: 32 * MIB }), none);
  }
  assertEquals(errorOf(flush, { length: 0 }), none);
});

Deno.test("checkRequest() takes the flags that belong to a command and no other", () => {
  const table: [number, number][] = [
    [read, fua | df],
    [write, fua],
    [trim, fua],
    [cache, fua],
    [writeZeroes, fua | noHole | fastZero],
    [blockStatus, fua | reqOne],
  ];
  for (const [command, allowed] of table) {
    for (let bit = 0; bit < 16; bit++) {
      const flags = 1 << bit;
      const expected = (flags & allowed) !== 0 ? none : einval;
      assertEquals(errorOf(command, { flags }), expected, `command ${command} flag ${bit}`);
    }
  }
  assertEquals(errorOf(flush, { flags: fua, length: 0 }), none);
  assertEquals(errorOf(flush, { flags: df, length: 0 }), einval);
  assertEquals(errorOf(read, { flags: df, rules: { structuredReplies: false } }), einval);
});

Deno.test("checkRequest() refuses what lies beyond the end", () => {
  for (const command of RANGED) {
    const expected = command === write || command === writeZeroes ? enospc : einval;
    for (const offset of [SIZE, SIZE - 512, 2 ** 53 - 512, Infinity]) {
      assertEquals(errorOf(command, { offset, length: 1024 }), expected, `${command} at ${offset}`);
    }
  }
});

Deno.test("checkRequest() refuses empty and unaligned ranges", () => {
  for (const command of RANGED) {
    assertEquals(errorOf(command, { length: 0 }), einval);
    assertEquals(errorOf(command, { offset: 1 }), einval);
    assertEquals(errorOf(command, { length: 513 }), einval);
    assertEquals(errorOf(command, { offset: 512, rules: { sectorBytes: 4096 } }), einval);
  }
});

Deno.test("checkRequest() bounds data, not what is without data", () => {
  const length = 32 * MIB + 512;
  assertEquals(errorOf(read, { length }), eoverflow);
  assertEquals(errorOf(read, { length, rules: { structuredReplies: false } }), einval);
  assertEquals(errorOf(write, { length }), einval);
  for (const command of [trim, cache, writeZeroes, blockStatus]) {
    assertEquals(errorOf(command, { length: 2 ** 32 - 512 }), none);
  }
});

Deno.test("checkRequest() promises fast zeroes only where holes may be made", () => {
  assertEquals(errorOf(writeZeroes, { flags: fastZero }), none);
  assertEquals(errorOf(writeZeroes, { flags: fastZero | noHole }), enotsup);
  assertEquals(errorOf(writeZeroes, { flags: fastZero, rules: { fastZero: false } }), enotsup);
  assertEquals(errorOf(writeZeroes, { flags: noHole, rules: { fastZero: false } }), none);
  assertEquals(errorOf(writeZeroes, { flags: fastZero, offset: SIZE }), enospc);
});

Deno.test("checkRequest() refuses unknown commands and out-of-place ones", () => {
  for (const command of [8, 9, 100, 65535]) assertEquals(errorOf(command, {}), einval);
  assertEquals(errorOf(flush, { length: 512 }), einval);
  assertEquals(errorOf(flush, { offset: 512, length: 0 }), einval);
  assertEquals(errorOf(blockStatus, { rules: { metaContextSet: false } }), einval);
});
