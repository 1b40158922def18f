import { assert, assertEquals, assertFalse } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { decodeMetadata } from "../protocol/metadata.ts";
import { FakeDisk, fakeMetadata, FakePool } from "../tests/support/core_fakes.ts";
import { MetadataStore } from "./metadata_store.ts";

function newStore() {
  const disk = new FakeDisk();
  const store = new MetadataStore(fakeMetadata(), { disk, buffer: new FakePool().take(4096) });
  const results: string[] = [];
  const result = (name: string) => (errno: number) => results.push(`${name} ${errno}`);
  const stored = () => decodeMetadata(disk.medium.subarray(0, 4096)).localcnt;
  return { disk, store, results, result, stored };
}

Deno.test("MetadataStore calls back once a change is written and flushed", () => {
  const { disk, store, results, result, stored } = newStore();
  store.update({ localcnt: 5n }, result("5"));
  assertEquals([store.current.localcnt, store.settled], [5n, false]);
  assertEquals(disk.jobs, ["write 0+4096"]);
  disk.complete();
  assertEquals([disk.jobs, results], [["flush"], []]);
  disk.complete(ERRNO.EOPNOTSUPP);
  assertEquals([results, store.settled, stored()], [["5 0"], true, 5n]);
});

Deno.test("MetadataStore writes once for all changes that came while a write was under way", () => {
  const { disk, store, results, result, stored } = newStore();
  store.update({ localcnt: 5n }, result("5"));
  store.update({ localcnt: 6n }, result("6"));
  store.update({ remotecnt: 7n }, result("7"));
  store.whenSettled(result("settled"));
  disk.complete();
  disk.complete();
  assertEquals([results, stored()], [["5 0"], 5n], "the first write has the first change alone");
  assertFalse(store.settled);
  disk.complete();
  disk.complete();
  assertEquals(results, ["5 0", "6 0", "7 0", "settled 0"]);
  assertEquals([disk.jobs, stored()], [[], 6n]);
});

Deno.test("MetadataStore.whenSettled() waits for the write that is under way", () => {
  const { disk, store, results, result } = newStore();
  store.whenSettled(result("at once"));
  store.update({ localcnt: 5n }, result("5"));
  store.whenSettled(result("then"));
  assertEquals(results, ["at once 0"]);
  disk.completeAll();
  assertEquals(results, ["at once 0", "5 0", "then 0"]);
});

Deno.test("MetadataStore is not settled after a failure, and tries again when asked", () => {
  for (const failing of ["write", "flush"]) {
    const { disk, store, results, result, stored } = newStore();
    store.update({ localcnt: 5n }, result("5"));
    if (failing === "flush") disk.complete();
    disk.complete(ERRNO.EIO);
    assertEquals([results, disk.jobs, store.settled], [["5 5"], [], false]);
    store.whenSettled(result("again"));
    disk.completeAll();
    assertEquals([results, stored()], [["5 5", "again 0"], 5n]);
    assert(store.settled);
  }
});

Deno.test("MetadataStore goes on with a change that came before a failure", () => {
  const { disk, store, results, result, stored } = newStore();
  store.update({ localcnt: 5n }, result("5"));
  store.update({ remotecnt: 6n }, result("6"));
  disk.complete(ERRNO.EIO);
  assertEquals(disk.jobs, ["write 0+4096"]);
  disk.completeAll();
  assertEquals([results, stored()], [["5 5", "6 0"], 5n]);
});
