import { assert, assertEquals, assertFalse } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { FAKE_EXTENT_BYTES, FakeDisk, FakePool } from "../tests/support/core_fakes.ts";
import { Activemap } from "./activemap.ts";
import { MapWriter } from "./map_writer.ts";

const MAP_OFFSET_BYTES = 4096;
const EXTENTS_PER_SECTOR = 512 * 8;

function newWriter(metaflush: boolean, sectorCount = 1) {
  const activemap = new Activemap({
    datasizeBytes: sectorCount * EXTENTS_PER_SECTOR * FAKE_EXTENT_BYTES,
    extentsizeBytes: FAKE_EXTENT_BYTES,
    mapBytes: sectorCount * 512,
    keepdirtyCount: 8,
  });
  const disk = new FakeDisk();
  const results: number[] = [];
  const writer = new MapWriter({
    disk,
    activemap,
    snapshot: new FakePool().take(sectorCount * 512),
    mapOffsetBytes: MAP_OFFSET_BYTES,
    metaflush: () => metaflush,
    written: (errno) => results.push(errno),
  });
  const begin = (extent: number) => {
    activemap.begin(extent * FAKE_EXTENT_BYTES, 512);
    writer.kick();
  };
  const durable = (extent: number) => activemap.isDurable(extent * FAKE_EXTENT_BYTES, 512);
  return { activemap, disk, results, writer, begin, durable };
}

Deno.test("MapWriter writes once for all that became dirty while a write was under way", () => {
  const { disk, results, writer, begin, durable } = newWriter(false);
  begin(1);
  for (const extent of [2, 3, 4]) begin(extent);
  assertEquals(disk.jobs, ["write 4096+512"]);
  disk.complete();
  assert(durable(1));
  assertFalse(durable(2));
  writer.kick();
  assertEquals(disk.jobs, ["write 4096+512"]);
  disk.complete();
  assert(durable(2) && durable(3) && durable(4));
  writer.kick();
  assertEquals([disk.jobs, results, writer.writeCount], [[], [0, 0], 2]);
  assertEquals(disk.medium[MAP_OFFSET_BYTES], 0b11110);
});

Deno.test("MapWriter counts a write with metaflush only once it is flushed", () => {
  const { disk, results, begin, durable } = newWriter(true);
  begin(1);
  disk.complete();
  assertEquals([disk.jobs, durable(1), results], [["flush"], false, []]);
  disk.complete(ERRNO.EOPNOTSUPP); // There is no cache.
  assertEquals([durable(1), results], [true, [0]]);
  begin(2);
  disk.complete();
  disk.complete(ERRNO.EIO);
  assertEquals([durable(2), results], [false, [0, ERRNO.EIO]]);
});

Deno.test("MapWriter writes again what could not be written", () => {
  const { disk, results, writer, begin, durable } = newWriter(false);
  begin(1);
  disk.complete(ERRNO.ENOSPC);
  assertEquals([durable(1), results, writer.writeCount], [false, [ERRNO.ENOSPC], 0]);
  writer.kick();
  disk.complete();
  assertEquals([durable(1), results, writer.writeCount], [true, [ERRNO.ENOSPC, 0], 1]);
});

Deno.test("MapWriter writes neighbouring sectors at once and leaves the others alone", () => {
  const { activemap, disk, results, writer } = newWriter(true, 8);
  for (const sector of [0, 1, 5]) {
    activemap.begin(sector * EXTENTS_PER_SECTOR * FAKE_EXTENT_BYTES, 512);
  }
  writer.kick();
  assertEquals(disk.jobs, ["write 4096+1024", `write ${4096 + 5 * 512}+512`]);
  disk.complete(ERRNO.EIO);
  assert(writer.busy);
  disk.complete();
  assertEquals([disk.jobs, results], [[], [ERRNO.EIO]], "one failure is a failure, and no flush");
});
