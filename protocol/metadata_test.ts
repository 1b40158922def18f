import { assert, assertEquals, assertThrows } from "@std/assert";
import { HastError } from "../base/errors.ts";
import { crc32 } from "./checksum.ts";
import {
  decodeMetadata,
  encodeMetadata,
  EXTENTSIZE_BYTES_MAX,
  layoutFor,
  mapBytesOf,
  type Metadata,
  METADATA_BYTES,
  MetadataError,
  type MetadataFault,
} from "./metadata.ts";
import { Nv } from "./nv.ts";

const GOOD: Metadata = {
  resource: "data",
  datasizeBytes: 16772608,
  extentsizeBytes: 2097152,
  keepdirtyCount: 64,
  dataOffsetBytes: 4608,
  resuid: 2n ** 64n - 1n,
  localcnt: 3n,
  remotecnt: 2n,
  prevrole: "primary",
};

function assertFault(block: Uint8Array, fault: MetadataFault, reason: string): void {
  const error = assertThrows(() => decodeMetadata(block), MetadataError, reason);
  assertEquals(error.fault, fault, error.message);
}

/** A block without trailer, as the original writes it. */
function plainBlock(nv: Nv): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(METADATA_BYTES);
  nv.encodeInto(block, 0);
  return block;
}

Deno.test("encodeMetadata() puts the trailer behind the entries and their end", () => {
  const block = encodeMetadata(GOOD);
  const { entriesBytes } = Nv.decodePrefix(block);
  const trailerAt = Math.ceil((entriesBytes + 1) / 8) * 8;
  const trailer = block.subarray(trailerAt, trailerAt + 16);
  assertEquals(new TextDecoder().decode(trailer.subarray(0, 8)), "HASTsum1");
  const sum = new DataView(block.buffer).getUint32(trailerAt + 8, true);
  assertEquals(sum, crc32(block.subarray(0, entriesBytes)));
  assertEquals(block.subarray(entriesBytes, trailerAt), new Uint8Array(trailerAt - entriesBytes));
  assertEquals(block.subarray(trailerAt + 12), new Uint8Array(METADATA_BYTES - trailerAt - 12));
});

Deno.test("metadata round-trips with every role and name length", () => {
  for (const prevrole of ["init", "primary", "secondary"] as const) {
    for (const resource of ["d", "d".repeat(11), "d".repeat(254), "ü".repeat(127)]) {
      const metadata = { ...GOOD, prevrole, resource };
      assertEquals(decodeMetadata(encodeMetadata(metadata)), metadata);
    }
  }
});

Deno.test("decodeMetadata() takes a block without trailer", () => {
  const block = encodeMetadata(GOOD);
  block.fill(0, Nv.decodePrefix(block).entriesBytes);
  assertEquals(decodeMetadata(block), GOOD);
});

Deno.test("decodeMetadata() tells every changed bit up to the end of the trailer", () => {
  const block = encodeMetadata(GOOD);
  const endBytes = Math.ceil((Nv.decodePrefix(block).entriesBytes + 1) / 8) * 8 + 16;
  for (let bit = 0; bit < METADATA_BYTES * 8; bit += bit < endBytes * 8 ? 1 : 99) {
    const damaged = block.slice();
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assertThrows(() => decodeMetadata(damaged), MetadataError, undefined, `bit ${bit}`);
  }
});

Deno.test("decodeMetadata() tells a write that was torn between two sectors", () => {
  const resource = "d".repeat(254); // Then the counters lie in the second sector.
  const before = encodeMetadata({ ...GOOD, resource });
  const after = encodeMetadata({ ...GOOD, resource, localcnt: 4n, resuid: 1n });
  const torn = after.slice();
  torn.set(before.subarray(512), 512);
  const isOld = torn.every((byte, index) => byte === before[index]);
  const isNew = torn.every((byte, index) => byte === after[index]);
  assert(!isOld && !isNew, "the tear lies within what has changed");
  assertFault(torn, "damaged", "checksum");
});

Deno.test("decodeMetadata() says what is wrong", () => {
  assertFault(new Uint8Array(METADATA_BYTES), "absent", "'resource'");
  const malformed = encodeMetadata(GOOD);
  malformed[0] = 0x7f;
  assertFault(malformed, "invalid", "unknown type");
  const trailing = plainBlock(new Nv().addString("resource", "data"));
  trailing[METADATA_BYTES - 1] = 1;
  assertFault(trailing, "damaged", "behind its entries");
});

Deno.test("decodeMetadata() misses every field", () => {
  const all = Nv.decode(encodeMetadata(GOOD)).entries();
  for (const { name } of all) {
    const nv = new Nv();
    for (const [index, entry] of all.entries()) {
      if (entry.name === name) continue;
      if (entry.type === 17) nv.addString(entry.name, index === 0 ? "data" : "init");
      else if (entry.type === 6) nv.addU32(entry.name, 4096);
      else nv.addU64(entry.name, 8192);
    }
    assertFault(plainBlock(nv), "absent", `'${name}'`);
  }
});

Deno.test("decodeMetadata() checks the values against each other", () => {
  const cases: [change: Partial<Metadata>, fault: MetadataFault, reason: string][] = [
    [{ resource: "" }, "damaged", "name"],
    [{ resource: "d".repeat(255) }, "damaged", "name"],
    [{ datasizeBytes: 0 }, "damaged", "no room"],
    [{ datasizeBytes: Number.MAX_SAFE_INTEGER }, "damaged", "beyond"],
    [{ datasizeBytes: 2 ** 44 }, "damaged", "activemap of 512 bytes"],
    [{ datasizeBytes: 2 ** 50, extentsizeBytes: 512 }, "damaged", "extents"],
    [{ extentsizeBytes: 0 }, "unsupported", "Extent size (0)"],
    [{ extentsizeBytes: 256 }, "unsupported", "Extent size (256)"],
    [{ extentsizeBytes: 1536 }, "unsupported", "Extent size (1536)"],
    [{ extentsizeBytes: 2 * EXTENTSIZE_BYTES_MAX }, "unsupported", "Extent size"],
    [{ dataOffsetBytes: 0 }, "damaged", "activemap"],
    [{ dataOffsetBytes: 4096 }, "damaged", "activemap of 0 bytes"],
    [{ dataOffsetBytes: 4609 }, "damaged", "data starts at 4609"],
    [{ dataOffsetBytes: 2 ** 30 }, "damaged", "activemap"],
  ];
  for (const [change, fault, reason] of cases) {
    assertFault(encodeMetadata({ ...GOOD, ...change }), fault, reason);
  }
  const huge = new Nv().addString("resource", "data").addU64("datasize", 2n ** 53n);
  assertFault(plainBlock(huge), "damaged", "out of range");
});

Deno.test("decodeMetadata() takes maps that are larger than needed", () => {
  const metadata = { ...GOOD, dataOffsetBytes: 4096 + 8 * 512 };
  assertEquals(mapBytesOf(decodeMetadata(encodeMetadata(metadata))), 4096);
});

Deno.test("layoutFor() rounds the map up to whole sectors", () => {
  const MiB = 1024 * 1024;
  assertEquals(layoutFor(8192 * MiB, 2 * MiB, 512), {
    dataOffsetBytes: 4608,
    datasizeBytes: 8192 * MiB - 4608,
    mapBytes: 512,
    extentCount: 4096,
  });
  assertEquals(layoutFor(8192 * MiB + 8192, 2 * MiB, 512).mapBytes, 1024);
  assertEquals(layoutFor(8192 * MiB, 2 * MiB, 4096).mapBytes, 4096);
  assertEquals(layoutFor(5120, 2 * MiB, 512).datasizeBytes, 512);
});

Deno.test("layoutFor() gives what decodeMetadata() takes", () => {
  for (const sectorBytes of [512, 4096]) {
    for (const extentsizeBytes of [4096, 2 ** 21, EXTENTSIZE_BYTES_MAX]) {
      for (const mediasizeBytes of [16384, 10 ** 7, 2 ** 40, 2 ** 45]) {
        if (mediasizeBytes / extentsizeBytes > 2 ** 31 - 2) continue;
        const layout = layoutFor(mediasizeBytes, extentsizeBytes, sectorBytes);
        const { dataOffsetBytes, datasizeBytes } = layout;
        const metadata = { ...GOOD, extentsizeBytes, dataOffsetBytes, datasizeBytes };
        assertEquals(decodeMetadata(encodeMetadata(metadata)), metadata);
        assertEquals(dataOffsetBytes + datasizeBytes, mediasizeBytes);
      }
    }
  }
});

Deno.test("layoutFor() refuses with the words of hastctl create, and exit code 65", () => {
  const cases: [mediasize: number, extentsize: number, sector: number, message: string][] = [
    [2 ** 24, 100, 512, "Extent size (100) is less than sector size (512)."],
    [2 ** 24, 1000, 512, "Extent size (1000) is not multiple of sector size (512)."],
    [2 ** 24, 1536, 512, "Extent size (1536) is not a power of two."],
    [2 ** 24, 2048, 4096, "Extent size (2048) is less than sector size (4096)."],
    [2 ** 40, 2 ** 31, 512, "Extent size (2147483648) is more than 1073741824."],
    [2 ** 50, 512, 512, "Extent size (512) is too small for 1125899906842624 bytes."],
    [0, 2 ** 21, 512, "Component is too small (0): at least 5120 bytes are needed."],
    [4096, 2 ** 21, 512, "Component is too small (4096): at least 5120 bytes are needed."],
    [5119, 2 ** 21, 512, "Component is too small (5119): at least 5120 bytes are needed."],
    [12287, 2 ** 21, 4096, "Component is too small (12287): at least 12288 bytes are needed."],
  ];
  for (const [mediasize, extentsize, sector, message] of cases) {
    const error = assertThrows(() => layoutFor(mediasize, extentsize, sector), HastError);
    assertEquals(error.message, message);
    assertEquals(error.exitCode, 65);
  }
});
