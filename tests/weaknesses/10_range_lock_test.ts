/**
 * The original keeps locked ranges in lists, all of which each request compares itself with, and
 * sleeps a second on a conflict in one path.
 *
 * Seen to fail, the first with this planted: `CHUNK_BYTES` of the lock is as large as the disk; the
 * second with this: `RangeLock.release` grants a second later.
 */
import { assert, assertEquals } from "@std/assert";
import { LockedRange, RangeLock } from "../../core/range_lock.ts";
import { RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { within } from "../support/wait.ts";

const BLOCK_BYTES = 4096;
const DISK_BLOCKS = 2 ** 28; // 1 TiB.
const PROBE_COUNT = 1000;

/** Counts how often the lock looks where a range ends. */
class CountedRange extends LockedRange {
  constructor(counter: { count: number }) {
    super();
    let endBytes = 0;
    Object.defineProperty(this, "lockEndBytes", {
      get: () => {
        counter.count++;
        return endBytes;
      },
      set: (value: number) => void (endBytes = value),
    });
  }
}

/** Looks per request for one more request while so many others hold their ranges. */
function looksBeside(heldCount: number): number {
  const random = new Random(10);
  const counter = { count: 0 };
  const lock = new RangeLock();
  const acquire = (isProbe: boolean) => {
    const range = new CountedRange(counter);
    // Probes take odd blocks, which nobody holds.
    const block = random.below(DISK_BLOCKS / 2) * 2 + Number(isProbe);
    lock.acquire(range, block * BLOCK_BYTES, BLOCK_BYTES);
    return range;
  };
  for (let i = 0; i < heldCount; i++) acquire(false);
  counter.count = 0;
  for (let i = 0; i < PROBE_COUNT; i++) lock.release(acquire(true));
  return counter.count / PROBE_COUNT;
}

Deno.test("weakness 10: a lock costs the same beside 10 others and beside 20,000", () => {
  const [few, many] = [looksBeside(10), looksBeside(20_000)];
  assert(few > 0, "looks are counted");
  assert(many < 2 * few, `${many} looks per request beside 20,000, ${few} beside 10`);
});

Deno.test("weakness 10: writes to one block follow each other without a pause", () =>
  withCluster({}, async (cluster) => {
    await cluster.startPair();
    await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
    const data = Array.from({ length: 200 }, (_, i) => new Uint8Array(BLOCK_BYTES).fill(i));
    // All but the first conflict: with a second for each this would take minutes.
    const writes = data.map((each) => client.write(0, each));
    await within("all writes are done", Promise.all(writes));
    const [left, right] = await Promise.all([cluster.a.readData(), cluster.b.readData()]);
    assertEquals(left.subarray(0, BLOCK_BYTES), right.subarray(0, BLOCK_BYTES));
  }));
