import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { AssertionFailed } from "../base/errors.ts";
import { LockedRange, RangeLock } from "./range_lock.ts";

class Probe extends LockedRange {
  grantedCount = 0;
  override granted(): void {
    this.grantedCount++;
  }
}

Deno.test("RangeLock grants ranges that do not overlap at once", () => {
  const lock = new RangeLock();
  assert(lock.acquire(new Probe(), 0, 512));
  assert(lock.acquire(new Probe(), 512, 512));
  assert(lock.acquire(new Probe(), 1 << 30, 32 << 20));
  assertEquals(lock.size, 3);
});

Deno.test("RangeLock serves overlapping ranges in the order in which they came", () => {
  const lock = new RangeLock();
  const [a, b, c, d] = [new Probe(), new Probe(), new Probe(), new Probe()];
  assert(lock.acquire(a, 0, 1 << 20)); // Four chunks.
  assertFalse(lock.acquire(b, 512, 1 << 20));
  assertFalse(lock.acquire(c, 1 << 20, 1024)); // Overlaps b only, and b waits.
  assert(lock.acquire(d, 4 << 20, 512));
  lock.release(a);
  assertEquals([b.grantedCount, c.grantedCount], [1, 0]);
  lock.release(b);
  assertEquals(c.grantedCount, 1);
  lock.release(c);
  lock.release(d);
  assertEquals(lock.size, 0);
});

Deno.test("RangeLock refuses to release what is not held", () => {
  const lock = new RangeLock();
  const [a, b] = [new Probe(), new Probe()];
  lock.acquire(a, 0, 512);
  lock.acquire(b, 0, 512);
  assertThrows(() => lock.release(b), AssertionFailed);
});

Deno.test("RangeLock never lets two overlapping ranges be held, and grants all in the end", () => {
  let seed = 1;
  const below = (limit: number) => {
    seed = Math.imul(seed, 1103515245) + 12345 >>> 0;
    return Math.floor(seed / 65536) % limit;
  };
  const lock = new RangeLock();
  const waiting = new Set<Probe>();
  const held: Probe[] = [];
  let grantedTotal = 0;
  for (let step = 0; step < 20_000; step++) {
    if (step < 10_000 && below(2) === 0) {
      const probe = new Probe();
      waiting.add(probe);
      if (lock.acquire(probe, below(4000) * 512, (1 + below(1500)) * 512)) probe.granted();
    } else if (held.length > 0) {
      const [gone] = held.splice(below(held.length), 1);
      if (gone !== undefined) lock.release(gone);
    }
    for (const probe of waiting) {
      if (probe.grantedCount === 0) continue;
      for (const other of held) {
        const apart = other.lockEndBytes <= probe.lockStartBytes ||
          probe.lockEndBytes <= other.lockStartBytes;
        assert(apart, "two overlapping ranges are held");
      }
      waiting.delete(probe);
      held.push(probe);
      grantedTotal++;
    }
  }
  assertEquals([waiting.size, held.length, lock.size], [0, 0, 0]);
  assert(grantedTotal > 1000);
});
