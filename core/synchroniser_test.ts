import { assert, assertEquals, assertFalse } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import {
  FAKE_EXTENT_BYTES,
  FakeDisk,
  FakeLink,
  FakeLog,
  FakePool,
  FakeTimers,
} from "../tests/support/core_fakes.ts";
import { Activemap, type StaleSide } from "./activemap.ts";
import { LockedRange, RangeLock } from "./range_lock.ts";
import { RemoteSide } from "./remote_side.ts";
import { Synchroniser } from "./synchroniser.ts";

const MIB = 1024 * 1024;
const RETRY_MS = 10_000;

interface Options {
  extentCount?: number;
  extentBytes?: number;
  rateBytesPerSecond?: number;
}

function newSynchroniser(options: Options = {}) {
  const { extentCount = 8, extentBytes = FAKE_EXTENT_BYTES, rateBytesPerSecond = 0 } = options;
  const activemap = new Activemap({
    datasizeBytes: extentCount * extentBytes,
    extentsizeBytes: extentBytes,
    mapBytes: 512,
    keepdirtyCount: 0,
  });
  const disk = new FakeDisk(extentCount * extentBytes);
  const pool = new FakePool();
  const timers = new FakeTimers();
  const lock = new RangeLock();
  const remote = new RemoteSide();
  const link = new FakeLink();
  const copied: number[] = [];
  const state = { busy: false, writable: true, started: 0 };
  const sync = new Synchroniser({
    disk,
    buffers: pool,
    timers,
    log: new FakeLog(),
    nowMs: () => timers.nowMs,
    activemap,
    lock,
    remote,
    dataOffsetBytes: 0,
    datasizeBytes: extentCount * extentBytes,
    extentsizeBytes: extentBytes,
    userBusy: () => state.busy,
    localWritable: () => state.writable,
    rateBytesPerSecond: () => rateBytesPerSecond,
    started: () => state.started++,
    synchronised: () => {},
    copied: (bytes) => copied.push(bytes),
  });
  const start = (stale: number[], side: StaleSide = "peer") => {
    for (const extent of stale) activemap.markStale(extent, side);
    remote.connect(link);
    sync.start(link);
  };
  let answered = 0;
  /** Answers what was sent, in order. */
  const answer = (count = Infinity, errno = 0) => {
    for (; count > 0 && answered < link.sent.length; count--) {
      remote.reply(link, link.seq(answered++), false, errno);
    }
  };
  /** Completes everything that is there, and what follows. */
  const runAll = () => {
    for (let before = -1; before !== answered + disk.jobs.length;) {
      before = answered + disk.jobs.length;
      disk.completeAll();
      answer();
    }
  };
  const rig = { activemap, disk, pool, timers, lock, remote, link, copied, state, sync };
  return { ...rig, start, answer, runAll };
}

Deno.test("Synchroniser copies from here what the peer lacks, and the other way round", () => {
  const { activemap, disk, pool, link, copied, start, answer } = newSynchroniser();
  disk.medium.fill(7);
  activemap.markStale(2, "local");
  start([1]);
  assertEquals(disk.jobs, ["read 4096+4096"]);
  assertEquals(link.requests, ["READ 8192+4096"]);
  link.sent[0]?.buffer?.bytes.fill(9);
  answer();
  disk.complete(0, "write 8192");
  assertEquals(disk.medium[8192], 9);
  disk.complete();
  assertEquals(link.requests, ["READ 8192+4096", "WRITE 4096+4096"]);
  assertEquals([link.sent[1]?.buffer?.bytes[0], copied], [7, []]);
  answer();
  assertEquals([copied, activemap.staleCount, pool.out.size], [[8192], 0, 0]);
});

Deno.test("Synchroniser has nothing to do, says so and does not begin", () => {
  const { state, sync, copied, start } = newSynchroniser();
  start([]);
  assertEquals([copied, state.started, sync.active, sync.finish()], [[0], 0, false, false]);
});

Deno.test("Synchroniser cuts extents into blocks that the peer takes, many of them in flight", () => {
  const { activemap, disk, link, start, answer } = newSynchroniser();
  link.requestBytesMax = 1024;
  start([0, 3]);
  assertEquals(disk.jobs.length, 8);
  assertEquals(disk.jobs[1], "read 1024+1024");
  disk.completeAll();
  answer(3);
  assert(activemap.isStale(0, "peer"), "one block of it is missing");
  answer(1);
  assertFalse(activemap.isStale(0, "peer"));
  assert(activemap.isStale(3, "peer"));
});

Deno.test("Synchroniser keeps to its window, and to a smaller one while users work", () => {
  const options = { extentCount: 24, extentBytes: MIB };
  const idle = newSynchroniser(options);
  idle.link.requestBytesMax = 32 * MIB;
  idle.start([...Array(24).keys()]);
  assertEquals(idle.disk.jobs.length, 8);
  idle.disk.complete();
  assertEquals(idle.disk.jobs.length, 7, "its block is on its way to the peer");
  idle.answer(1);
  assertEquals(idle.disk.jobs.length, 8);
  const busy = newSynchroniser(options);
  busy.link.requestBytesMax = 32 * MIB;
  busy.state.busy = true;
  busy.start([...Array(24).keys()]);
  assertEquals(busy.disk.jobs.length, 1);
});

Deno.test("Synchroniser keeps to the limit of its rate", () => {
  const rateBytesPerSecond = 2 * MIB;
  const options = { extentCount: 24, extentBytes: MIB, rateBytesPerSecond };
  const { timers, copied, start, runAll } = newSynchroniser(options);
  start([...Array(24).keys()]);
  for (; copied.length === 0; timers.advance(50)) runAll();
  assert(timers.nowMs >= 11_000 && timers.nowMs <= 12_100, `${timers.nowMs} ms`);
});

Deno.test("Synchroniser leaves an extent stale of which a block failed, and tries again later", () => {
  const { activemap, disk, link, timers, sync, copied, start, answer } = newSynchroniser();
  link.requestBytesMax = 2048;
  start([0, 1]);
  disk.completeAll();
  answer(1, ERRNO.EIO);
  answer();
  assertEquals([activemap.isStale(0, "peer"), activemap.isStale(1, "peer")], [true, false]);
  assertEquals([disk.jobs, copied, sync.active], [[], [], true]);
  timers.advance(RETRY_MS - 1);
  assertEquals(disk.jobs, []);
  timers.advance(1);
  disk.completeAll();
  answer();
  assertEquals(activemap.staleCount, 0);
  assertEquals(copied.length, 1);
});

Deno.test("Synchroniser copies again where the local component fails a read or a write", () => {
  for (const side of ["peer", "local"] as const) {
    const { activemap, disk, timers, start, answer, runAll } = newSynchroniser();
    start([0], side);
    answer();
    disk.complete(ERRNO.EIO);
    assert(activemap.isStale(0, side));
    timers.advance(RETRY_MS);
    runAll();
    assertFalse(activemap.isStale(0, side));
  }
});

Deno.test("Synchroniser.invalidate() makes what is in flight not count", () => {
  const { activemap, disk, sync, start, answer } = newSynchroniser();
  start([0, 1]);
  disk.completeAll();
  sync.invalidate(FAKE_EXTENT_BYTES + 512, 512);
  answer();
  assertEquals([activemap.isStale(0, "peer"), activemap.isStale(1, "peer")], [false, true]);
});

Deno.test("Synchroniser waits for users in the same range, and they for it", () => {
  const { disk, lock, link, start, answer } = newSynchroniser();
  const user = new LockedRange();
  assert(lock.acquire(user, 512, 512));
  start([0, 1]);
  assertEquals(disk.jobs, ["read 4096+4096"]);
  const later = new LockedRange();
  assertFalse(lock.acquire(later, 0, 512));
  lock.release(user);
  assertEquals(disk.jobs, ["read 4096+4096", "read 0+4096"]);
  disk.completeAll();
  assertEquals(later.blockerCount, 1);
  answer();
  assertEquals([later.blockerCount, link.sent.length], [0, 2]);
});

Deno.test("Synchroniser gives everything back when the link is lost, and goes on with the next", () => {
  const { activemap, disk, pool, lock, remote, link, sync, copied, start } = newSynchroniser();
  start([0, 1, 2]);
  disk.complete();
  assert(sync.stop());
  remote.disconnect();
  disk.completeAll();
  assertEquals([activemap.staleCount, pool.out.size, lock.size], [3, 0, 0]);
  assertFalse(sync.stop(), "it was not under way");
  const next = new FakeLink();
  remote.connect(next);
  sync.start(next);
  disk.completeAll();
  for (let index = 0; index < 3; index++) remote.reply(next, next.seq(index), false, 0);
  assertEquals([activemap.staleCount, copied], [0, [3 * FAKE_EXTENT_BYTES]]);
  assertEquals(link.sent.length, 1);
});

Deno.test("Synchroniser does not write to a component that is out of service", () => {
  const { activemap, disk, link, state, sync, start, runAll } = newSynchroniser();
  state.writable = false;
  activemap.markStale(1, "local");
  start([0]);
  runAll();
  assertEquals([link.requests, activemap.isStale(1, "local")], [["WRITE 0+4096"], true]);
  state.writable = true;
  sync.resume();
  runAll();
  assertEquals([activemap.staleCount, disk.jobs], [0, []]);
});
