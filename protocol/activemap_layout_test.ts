import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailed } from "../base/errors.ts";
import { decodeHex, encodeHex } from "../tests/support/hex.ts";
import { listAt, loadVector, textAt } from "../tests/support/vectors.ts";
import {
  activemapBytes,
  clearExtent,
  countExtents,
  extentCountOf,
  markExtent,
  mergeExtents,
  testExtent,
} from "./activemap_layout.ts";

/** Extents marked on the primary after each of these steps of activemap.json. */
const STEPS: [what: string, extents: number[]][] = [
  ["extent 9", [0, 9]],
  ["extent 20: 9 evicted", [0, 20]],
  ["131072 bytes from the middle of extent 30", [30, 31]],
  ["write to extent 60 while degraded", [50, 60]],
  ["write to extent 62 while degraded", [60, 61, 62]],
];

Deno.test("vectors: the activemap has its bits where the original has them", () => {
  const steps = listAt(loadVector("activemap"), "steps");
  const extentCount = extentCountOf(16772608, 131072);
  for (const [what, extents] of STEPS) {
    const step = steps.find((each) => textAt(each, "what").startsWith(what));
    assert(step !== undefined, what);
    const theirs = decodeHex(textAt(step, "activemap_a_hex"));
    const ours = new Uint8Array(activemapBytes(extentCount));
    for (const extent of extents) markExtent(ours, extent);
    assertEquals(encodeHex(ours.subarray(0, theirs.length)), encodeHex(theirs), what);
    assertEquals(countExtents(ours, extentCount), extents.length, what);
    for (let extent = 0; extent < extentCount; extent++) {
      assertEquals(testExtent(ours, extent), extents.includes(extent), `${what}: ${extent}`);
    }
  }
});

Deno.test("sizes of an activemap round up", () => {
  assertEquals([1, 4096, 4097].map((bytes) => extentCountOf(bytes, 4096)), [1, 1, 2]);
  assertEquals([0, 1, 8, 9].map(activemapBytes), [0, 1, 1, 2]);
});

Deno.test("clearExtent() takes one bit away, markExtent() adds one twice", () => {
  const map = new Uint8Array([0xff, 0xff]);
  clearExtent(map, 9);
  assertEquals(map, new Uint8Array([0xff, 0xfd]));
  markExtent(map, 9);
  markExtent(map, 9);
  assertEquals(map, new Uint8Array([0xff, 0xff]));
});

Deno.test("countExtents() and mergeExtents() leave out the bits behind the last extent", () => {
  const full = new Uint8Array(4).fill(0xff);
  for (let extentCount = 0; extentCount <= 32; extentCount++) {
    assertEquals(countExtents(full, extentCount), extentCount);
    const target = new Uint8Array(4);
    mergeExtents(target, full, extentCount);
    assertEquals(countExtents(target, 32), extentCount);
  }
});

Deno.test("mergeExtents() keeps what was marked", () => {
  const target = new Uint8Array([0b0101, 0x80]);
  mergeExtents(target, new Uint8Array([0b0011, 0x01]), 16);
  assertEquals(target, new Uint8Array([0b0111, 0x81]));
  assertThrows(() => mergeExtents(target, new Uint8Array(1), 16), AssertionFailed);
});
