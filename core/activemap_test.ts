import { assert, assertEquals, assertFalse } from "@std/assert";
import { Activemap } from "./activemap.ts";

const EXTENT_BYTES = 4096;

function newMap(keepdirtyCount = 2, extentCount = 64): Activemap {
  return new Activemap({
    datasizeBytes: extentCount * EXTENT_BYTES,
    extentsizeBytes: EXTENT_BYTES,
    mapBytes: 512 * Math.ceil(extentCount / 4096),
    keepdirtyCount,
  });
}

/** Writes the map as `core/map_writer.ts` would; the bytes that are on disk afterwards. */
function write(map: Activemap, disk: Uint8Array): void {
  const snapshot = new Uint8Array(disk.length);
  const sectors = map.beginWrite(snapshot);
  for (const sector of sectors) {
    disk.set(snapshot.subarray(sector * 512, sector * 512 + 512), sector * 512);
  }
  map.endWrite(snapshot, sectors);
}

/** A whole write to one extent, flushed by both nodes if `flushed`. */
function touch(map: Activemap, disk: Uint8Array, extent: number, flushed = true): void {
  if (!map.begin(extent * EXTENT_BYTES, 512)) write(map, disk);
  assert(map.isDurable(extent * EXTENT_BYTES, 512));
  map.end(extent * EXTENT_BYTES, 512);
  if (!flushed) return;
  assert(map.beginFlush());
  map.endFlush(true);
}

Deno.test("Activemap allows data only where the bit has reached the disk", () => {
  const map = newMap();
  const disk = new Uint8Array(512);
  assertFalse(map.begin(9 * EXTENT_BYTES + 100 * 512 % EXTENT_BYTES, 512));
  const snapshot = new Uint8Array(512);
  const sectors = map.beginWrite(snapshot);
  assertFalse(map.isDurable(9 * EXTENT_BYTES, 512));
  assertFalse(map.begin(20 * EXTENT_BYTES, 512), "came after the write began");
  map.endWrite(snapshot, sectors);
  assert(map.isDurable(9 * EXTENT_BYTES, 512));
  assertFalse(map.isDurable(20 * EXTENT_BYTES, 512));
  write(map, disk);
  assert(map.isDurable(20 * EXTENT_BYTES, 512));
  assertEquals(disk[1], 1 << 1);
});

Deno.test("Activemap sets and evicts bits as the captured original does, once both have flushed", () => {
  const map = newMap(2);
  const disk = new Uint8Array(512);
  touch(map, disk, 0);
  assertEquals(disk.slice(0, 4), new Uint8Array([0x01, 0, 0, 0]));
  touch(map, disk, 9);
  assertEquals(disk.slice(0, 4), new Uint8Array([0x01, 0x02, 0, 0]));
  touch(map, disk, 0); // Now 9 is the least recently used.
  touch(map, disk, 20);
  assertEquals(disk.slice(0, 4), new Uint8Array([0x01, 0, 0x10, 0]));
});

Deno.test("Activemap keeps an evicted extent dirty until both nodes have flushed it", () => {
  const map = newMap(1);
  const disk = new Uint8Array(512);
  touch(map, disk, 3, false);
  touch(map, disk, 4, false);
  assertEquals(map.coolingCount, 1);
  assert(map.beginFlush());
  touch(map, disk, 3, false); // Written again, and evicts 4.
  map.endFlush(true);
  assertFalse(map.isDirty(4), "covered by the flush");
  touch(map, disk, 5, false); // Evicts 3, which was written after the flush began.
  assert(map.isDirty(3));
  assert(map.beginFlush());
  assertFalse(map.beginFlush(), "one flush is followed at a time");
  map.endFlush(false);
  assert(map.isDirty(3), "a failed flush cleans nothing");
  assert(map.beginFlush());
  map.endFlush(true);
  assertFalse(map.isDirty(3));
});

Deno.test("Activemap forgets that a bit is on disk when a write that clears it begins", () => {
  const map = newMap(1);
  const disk = new Uint8Array(512);
  touch(map, disk, 3);
  assertFalse(map.begin(4 * EXTENT_BYTES, 512)); // Evicts 3, which is flushed and so clean.
  const snapshot = new Uint8Array(512);
  const sectors = map.beginWrite(snapshot);
  map.end(4 * EXTENT_BYTES, 512);
  assertFalse(map.begin(3 * EXTENT_BYTES, 512), "its bit may be cleared any moment");
  map.endWrite(snapshot, sectors);
  assertFalse(map.isDurable(3 * EXTENT_BYTES, 512));
});

Deno.test("Activemap takes what is on disk as lacking on the other node", () => {
  const map = newMap();
  const disk = new Uint8Array(512);
  disk[2] = 0x81;
  map.load(disk);
  assertEquals([map.nextStale(0), map.nextStale(17), map.nextStale(24)], [16, 23, -1]);
  assertEquals(map.staleBytes, 2 * EXTENT_BYTES);
  assertFalse(map.changed);
  assertFalse(map.begin(16 * EXTENT_BYTES, 512), "it may be in a cache only");
  write(map, disk);
  assert(map.begin(23 * EXTENT_BYTES, 512), "of the same sector");
  assertFalse(map.changed);
});

Deno.test("Activemap.merge() turns everything stale towards one source", () => {
  const map = newMap();
  const disk = new Uint8Array(512);
  disk[0] = 0b0000_0011;
  map.load(disk);
  const theirs = new Uint8Array(512);
  theirs[0] = 0b0000_0110;
  theirs[8] = 0xff; // Beyond the last extent: ignored.
  map.merge(theirs, "local");
  for (const extent of [0, 1, 2]) {
    assert(map.isStale(extent, "local"));
    assertFalse(map.isStale(extent, "peer"));
  }
  assertEquals(map.staleCount, 3);
  assert(map.touchesStale("local", 2 * EXTENT_BYTES - 512, 1024));
  assertFalse(map.touchesStale("local", 3 * EXTENT_BYTES, EXTENT_BYTES));
});

Deno.test("Activemap.markUnflushedStale() covers what was written before and during a flush", () => {
  const map = newMap(8);
  const disk = new Uint8Array(512);
  touch(map, disk, 1);
  touch(map, disk, 2, false);
  map.beginFlush();
  touch(map, disk, 5, false);
  map.markUnflushedStale("peer");
  assertEquals([1, 2, 5].map((extent) => map.isStale(extent, "peer")), [false, true, true]);
});

Deno.test("Activemap writes only the sectors that changed", () => {
  const map = newMap(2, 10 * 4096);
  const snapshot = new Uint8Array(512 * 10);
  map.begin(0, 512);
  map.begin(9 * 4096 * EXTENT_BYTES, 512);
  assertEquals(map.beginWrite(snapshot), [0, 9]);
  map.failWrite([9]);
  assert(map.changed);
  assertEquals(map.beginWrite(snapshot), [9]);
});
