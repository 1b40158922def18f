import { assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { decodeMetadata, encodeMetadata, type Metadata } from "../protocol/metadata.ts";
import {
  FAKE_MAP_OFFSET_BYTES,
  FakeDisk,
  FakeLog,
  fakeMetadata,
  FakePool,
} from "../tests/support/core_fakes.ts";
import { type JoinOutcome, SecondaryJoin } from "./secondary_join.ts";
import type { PrimaryHello } from "./sync_decision.ts";

const HELLO: PrimaryHello = { resuid: 7n, localcnt: 1n, remotecnt: 1n, virgin: false };
const NEVER_USED = { resuid: 0n, localcnt: 0n, remotecnt: 0n };

function newJoin(change: Partial<Metadata>, mapByte = 0) {
  const disk = new FakeDisk();
  const metadata = fakeMetadata(change);
  disk.medium.set(encodeMetadata(metadata));
  disk.medium[FAKE_MAP_OFFSET_BYTES] = mapByte;
  const map = disk.medium.slice(FAKE_MAP_OFFSET_BYTES, FAKE_MAP_OFFSET_BYTES + 512);
  const log = new FakeLog();
  const join = new SecondaryJoin(metadata, map, { disk, buffers: new FakePool(), log });
  const outcomes: JoinOutcome[] = [];
  const decide = (hello: Partial<PrimaryHello> = {}) =>
    join.decide({ ...HELLO, ...hello }, (outcome) => outcomes.push(outcome));
  const stored = () => decodeMetadata(disk.medium.subarray(0, 4096));
  const mapStored = () => disk.medium[FAKE_MAP_OFFSET_BYTES];
  return { join, disk, log, outcomes, decide, stored, mapStored };
}

function summary([outcome]: JoinOutcome[]): string {
  if (outcome === undefined) return "nothing yet";
  if (outcome.kind !== "accepted") return outcome.kind;
  const { virgin, syncSource, map } = outcome.answer;
  return `${virgin ? "virgin, " : ""}${map?.[0] ?? "no map"} from ${syncSource}`;
}

Deno.test("SecondaryJoin answers with its own map once its counters are on disk", () => {
  const { disk, outcomes, decide, stored, mapStored } = newJoin({}, 5);
  decide();
  assertEquals([disk.jobs, summary(outcomes)], [["write 0+4096"], "nothing yet"]);
  disk.completeAll();
  assertEquals([summary(outcomes), mapStored()], ["5 from primary", 5]);
  assertEquals(stored(), fakeMetadata({ prevrole: "secondary" }));
});

Deno.test("SecondaryJoin refuses and touches nothing", () => {
  const cases: [Partial<PrimaryHello>, string][] = [
    [{ localcnt: 2n, remotecnt: 0n }, "split-brain"],
    [{ resuid: 8n }, "resuid-mismatch"],
  ];
  for (const [hello, expected] of cases) {
    const { disk, outcomes, decide } = newJoin({}, 5);
    decide(hello);
    assertEquals([summary(outcomes), disk.jobs], [expected, []]);
  }
});

Deno.test("SecondaryJoin clears its map with the first request, not before", () => {
  const { join, disk, decide, mapStored } = newJoin({}, 5);
  decide();
  disk.completeAll();
  assertEquals(mapStored(), 5);
  join.firstRequest();
  disk.completeAll();
  assertEquals(mapStored(), 0);
});

Deno.test("SecondaryJoin becomes part of a virgin primary's resource at once", () => {
  const { disk, outcomes, decide, stored, mapStored } = newJoin(NEVER_USED, 5);
  decide({ virgin: true, localcnt: 0n, remotecnt: 0n });
  assertEquals(summary(outcomes), "nothing yet");
  disk.completeAll();
  assertEquals(summary(outcomes), "virgin, no map from primary");
  assertEquals([stored().resuid, mapStored()], [7n, 0]);
});

Deno.test("SecondaryJoin stays unused, and marked, until a primary with data knows that it is empty", () => {
  const { join, disk, outcomes, decide, stored, mapStored } = newJoin(NEVER_USED);
  decide();
  assertEquals(summary(outcomes), "nothing yet");
  disk.completeAll();
  assertEquals(summary(outcomes), "virgin, 255 from primary");
  assertEquals([stored().resuid, mapStored()], [0n, 255]);
  join.firstRequest();
  disk.complete(0, "write 0+4096");
  disk.complete();
  assertEquals([stored().resuid, mapStored()], [7n, 255], "the map is cleared last");
  disk.completeAll();
  assertEquals([stored().resuid, stored().localcnt, mapStored()], [7n, 0n, 0]);
});

Deno.test("SecondaryJoin.claim() marks everything before it raises localcnt", () => {
  const { join, disk, decide, stored, mapStored } = newJoin({});
  decide();
  disk.completeAll();
  join.firstRequest();
  const results: number[] = [];
  join.claim((errno) => results.push(errno));
  disk.complete(); // Of the first request: zeros.
  disk.complete();
  disk.complete();
  disk.complete();
  assertEquals([stored().localcnt, mapStored(), disk.jobs], [1n, 255, ["write 0+4096"]]);
  disk.complete();
  assertEquals(results, [], "not flushed yet");
  disk.complete();
  assertEquals([results, stored().localcnt, join.metadata.localcnt], [[0], 2n, 2n]);
});

Deno.test("SecondaryJoin.claim() leaves localcnt alone where the map cannot be marked", () => {
  const { join, disk, stored } = newJoin({});
  const results: number[] = [];
  join.claim((errno) => results.push(errno));
  disk.complete(ERRNO.EIO);
  assertEquals([results, stored().localcnt, disk.jobs], [[ERRNO.EIO], 1n, []]);
});

Deno.test("SecondaryJoin fails where its component cannot be written", () => {
  for (const change of [{}, NEVER_USED]) {
    const { disk, outcomes, decide, log } = newJoin(change);
    decide();
    disk.complete(ERRNO.EIO);
    assertEquals([summary(outcomes), disk.jobs, log.lines.length], ["failed", [], 1]);
  }
});
