import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import { crc32, HASH_BYTES, verifyHash, writeHash } from "./checksum.ts";
import { Nv } from "./nv.ts";
import {
  compressInto,
  compressionSent,
  decodePayload,
  decodePayloadInto,
  decompress,
  encodePayload,
  isAllZero,
} from "./payload.ts";

const CHECKSUMS = ["none", "crc32", "sha256"] as const;
const COMPRESSIONS = ["none", "hole", "lzf"] as const;

/** `byteCount` bytes that LZF makes much smaller. */
function compressible(byteCount: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(byteCount).map((_, index) => 1 + index % 50);
}

Deno.test("crc32() is the usual one", () => {
  assertEquals(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  assertEquals(crc32(new Uint8Array(0)), 0);
  const memory = new Uint8Array(4096).fill(9);
  memory.set(new TextEncoder().encode("123456789"), 1001);
  assertEquals(crc32(memory.subarray(1001, 1010)), 0xcbf43926);
});

Deno.test("writeHash() writes CRC-32 little-endian and SHA-256", () => {
  const target = new Uint8Array(6);
  writeHash("crc32", new TextEncoder().encode("123456789"), target, 1);
  assertEquals(target, new Uint8Array([0, 0x26, 0x39, 0xf4, 0xcb, 0]));
  const sum = new Uint8Array(32);
  writeHash("sha256", new TextEncoder().encode("abc"), sum, 0);
  assertEquals([...sum.subarray(0, 4)], [0xba, 0x78, 0x16, 0xbf]);
});

Deno.test("verifyHash() tells every changed byte of data and hash", () => {
  for (const name of ["crc32", "sha256"] as const) {
    const data = new Random(1).bytes(64);
    const hash = new Uint8Array(HASH_BYTES[name]);
    writeHash(name, data, hash, 0);
    verifyHash(name, hash, data);
    for (const bytes of [data, hash]) {
      for (let at = 0; at < bytes.length; at++) {
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        assertThrows(() => verifyHash(name, hash, data), ProtocolError, "Hash mismatch");
        bytes[at] = (bytes[at] ?? 0) ^ 1;
      }
    }
    assertThrows(() => verifyHash(name, hash.subarray(1), data), ProtocolError, "hash of");
  }
  assertThrows(
    () => verifyHash("md5", new Uint8Array(16), new Uint8Array(1)),
    ProtocolError,
    "'md5'",
  );
});

Deno.test("isAllZero() sees a single bit anywhere, at any alignment and length", () => {
  const memory = new Uint8Array(200);
  for (let start = 0; start < 9; start++) {
    for (let length = 0; length < 100; length++) {
      const bytes = memory.subarray(start, start + length);
      memory.fill(0xff); // What surrounds the bytes does not count.
      bytes.fill(0);
      assert(isAllZero(bytes), `${length} bytes from ${start}`);
      for (let at = 0; at < length; at++) {
        bytes[at] = 1 << (at & 7);
        assert(!isAllZero(bytes), `${length} bytes from ${start}: byte ${at}`);
        bytes[at] = 0;
      }
    }
  }
});

Deno.test("compressInto() chooses what the protocol says", () => {
  const target = new Uint8Array(8192);
  const sent = (compression: (typeof COMPRESSIONS)[number], data: Uint8Array) =>
    compressionSent(compressInto(compression, data, target));
  for (const compression of COMPRESSIONS) {
    const isHole = compression === "none" ? undefined : "hole";
    assertEquals(sent(compression, new Uint8Array(512)), isHole);
    assertEquals(sent(compression, new Uint8Array(0)), undefined);
    assertEquals(sent(compression, new Random(1).bytes(4096)), undefined);
  }
  assertEquals(sent("hole", compressible(4096)), undefined);
  assertEquals(sent("lzf", compressible(4096)), "lzf");
  assertEquals(sent("lzf", compressible(1024)), undefined);
  assertEquals(sent("lzf", compressible(1060)), undefined); // Cannot save 1024 bytes.
});

Deno.test("compressInto() uses LZF only where it saves 1024 bytes and fits the target", () => {
  const data = compressible(3000);
  const target = new Uint8Array(8192);
  const neededBytes = compressInto("lzf", data, target);
  assert(neededBytes > 4 && neededBytes <= 3000 - 1024);
  assertEquals(compressInto("lzf", data, target.subarray(0, neededBytes)), neededBytes);
  assertEquals(compressInto("lzf", data, target.subarray(0, neededBytes - 1)), 0);
  const random = new Random(2);
  for (let noiseBytes = 0; noiseBytes <= 2048; noiseBytes += 64) {
    const mixed = new Uint8Array(2048 + 4).fill(1);
    mixed.set(random.bytes(noiseBytes));
    const byteCount = compressInto("lzf", mixed, target);
    assert(byteCount <= mixed.length - 1024);
    if (noiseBytes > 1100) assertEquals(byteCount, 0, `${noiseBytes} bytes of noise`);
  }
});

Deno.test("payload round-trips through all stages, with its fields in order", () => {
  const seed = testSeed();
  const random = new Random(seed);
  for (const checksum of CHECKSUMS) {
    for (const compression of COMPRESSIONS) {
      for (const data of [new Uint8Array(4096), compressible(4096), random.bytes(4096)]) {
        const header = new Nv().addU8("cmd", 2);
        const sent = encodePayload(header, data, { checksum, compression });
        const isSame = !header.has("compression");
        assertEquals(sent === data, isSame);
        assertEquals(header.u32("size"), sent.length);
        const expected = ["cmd"];
        if (!isSame) expected.push("compression");
        if (checksum !== "none") expected.push("checksum", "hash");
        assertEquals(header.entries().map(({ name }) => name), [...expected, "size"]);
        assertEquals(decodePayload(header, sent, 4096), data, `seed ${seed}`);
        const destination = new Uint8Array(4100).fill(0xee);
        assertEquals(decodePayloadInto(header, sent, destination.subarray(0, 4096)), 4096);
        assertEquals(destination.subarray(0, 4096), data);
        assertEquals(destination.subarray(4096), new Uint8Array(4).fill(0xee));
      }
    }
  }
});

Deno.test("encodePayload() adds nothing without data", () => {
  const header = new Nv();
  const sent = encodePayload(header, new Uint8Array(0), { checksum: "sha256", compression: "lzf" });
  assertEquals(sent.length, 0);
  assertEquals(header.entries(), []);
});

Deno.test("decodePayload() rejects damage before it decompresses", () => {
  const header = new Nv();
  const sent = encodePayload(header, compressible(4096), { checksum: "crc32", compression: "lzf" });
  for (let at = 0; at < sent.length; at++) {
    const damaged = sent.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x40;
    assertThrows(() => decodePayload(header, damaged, 4096), ProtocolError, "Hash mismatch");
  }
});

Deno.test("decodePayload() rejects a checksum without a hash, and unknown names", () => {
  const data = new Uint8Array(8);
  const decode = (header: Nv) => () => decodePayload(header, data, 8);
  assertThrows(decode(new Nv().addString("checksum", "crc32")), ProtocolError, "'hash'");
  assertThrows(decode(new Nv().addString("compression", "zstd")), ProtocolError, "'zstd'");
  assertThrows(decode(new Nv().addString("compression", "none")), ProtocolError, "'none'");
  const md5 = new Nv().addString("checksum", "md5").addU8Array("hash", new Uint8Array(16));
  assertThrows(decode(md5), ProtocolError, "'md5'");
});

Deno.test("decompress() bounds what a few bytes can become", () => {
  const destination = new Uint8Array(64).fill(0xee);
  const room = destination.subarray(0, 32);
  const bombs: [name: string, raw: number[], reason: string][] = [
    ["hole", [33, 0, 0, 0], "room for 32"],
    ["hole", [0xff, 0xff, 0xff, 0xff], "room for 32"],
    ["lzf", [0xff, 0xff, 0xff, 0xff, 0, 97], "room for 32"],
    ["lzf", [32, 0, 0, 0, 0, 97, 7 << 5, 255, 0], "output is too long"],
    ["lzf", [10, 0, 0, 0, 31, ...new Array(32).fill(1)], "output is too long"],
    ["lzf", [32, 0, 0, 0, 0, 97], "1 of 32 bytes"],
    ["hole", [1, 0, 0], "it has 3 bytes"],
    ["hole", [1, 0, 0, 0, 0], "it has 5 bytes"],
    ["lzf", [1, 0, 0, 0], "it has 4 bytes"],
    ["lzf", [], "it has 0 bytes"],
  ];
  for (const [name, raw, reason] of bombs) {
    assertThrows(() => decompress(name, new Uint8Array(raw), room), ProtocolError, reason);
    assertEquals(destination.subarray(32), new Uint8Array(32).fill(0xee));
  }
  assertThrows(() => decompress(undefined, new Uint8Array(33), room), ProtocolError, "room for 32");
  const hole = new Nv().addString("compression", "hole");
  const fourGiB = new Uint8Array([0xff, 0xff, 0xff, 0xff]);
  assertThrows(() => decodePayload(hole, fourGiB, 4096), ProtocolError, "limit is 4096");
  assertThrows(() => decodePayload(new Nv(), new Uint8Array(5), 4), ProtocolError, "limit is 4");
});

Deno.test("decompress() writes zeros over what was there", () => {
  const destination = new Uint8Array(16).fill(7);
  assertEquals(decompress("hole", new Uint8Array([12, 0, 0, 0]), destination), 12);
  assertEquals([...destination], [...new Array(12).fill(0), 7, 7, 7, 7]);
});

Deno.test("the stages work on memory outside the heap", () => {
  const owner = new Uint8Array(8192);
  const pointer = Deno.UnsafePointer.of(owner);
  assert(pointer !== null);
  const outside = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, 8192));
  outside.set(compressible(4096));
  const target = outside.subarray(4096);
  const byteCount = compressInto("lzf", outside.subarray(0, 4096), target);
  assertEquals(decompress("lzf", target.subarray(0, byteCount), new Uint8Array(4096)), 4096);
  const copy = target.slice(0, byteCount);
  assertEquals(crc32(target.subarray(0, byteCount)), crc32(copy));
  const hash = new Uint8Array(32);
  writeHash("sha256", target.subarray(0, byteCount), hash, 0);
  verifyHash("sha256", hash, copy);
});
