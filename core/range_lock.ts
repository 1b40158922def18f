/**
 * Ranges of the data in use, so that overlapping writes reach both components in one order and
 * no synchronised block overtakes a user's write.
 *
 * Time per call does not grow with the number of ranges in use: a range is entered in a hash
 * table under every chunk that it touches, and only ranges of the same chunk are compared.
 * Waiters are served in the order in which they came; a later range never overtakes an earlier
 * one that it overlaps, so nobody starves.
 * @module
 */
import { invariant } from "../base/errors.ts";

const CHUNK_BYTES = 256 * 1024;

/** A range that can be locked; the owner embeds or extends it, and may lock it again later. */
export class LockedRange {
  lockStartBytes = 0;
  lockEndBytes = 0;
  /** How many earlier overlapping ranges must be released first. */
  blockerCount = 0;
  /** Later ranges that wait for this one. */
  readonly waiters: LockedRange[] = [];
  /** Entered in the table: held, or waiting for `blockerCount` others. */
  entered = false;

  /** Called when a range that had to wait has been granted. */
  granted(): void {}
}

export class RangeLock {
  readonly #chunks = new Map<number, LockedRange[]>();
  #enteredCount = 0;

  /** Ranges held or waiting. */
  get size(): number {
    return this.#enteredCount;
  }

  /**
   * Takes a range, or queues it behind every earlier one that it overlaps.
   *
   * @returns true: held now. false: `range.granted()` is called once it is.
   */
  acquire(range: LockedRange, offsetBytes: number, lengthBytes: number): boolean {
    invariant(!range.entered && lengthBytes > 0, "a range is locked once at a time");
    range.lockStartBytes = offsetBytes;
    range.lockEndBytes = offsetBytes + lengthBytes;
    range.blockerCount = 0;
    range.entered = true;
    this.#enteredCount++;
    const last = Math.floor((range.lockEndBytes - 1) / CHUNK_BYTES);
    for (let chunk = Math.floor(offsetBytes / CHUNK_BYTES); chunk <= last; chunk++) {
      const others = this.#chunks.get(chunk);
      if (others === undefined) {
        this.#chunks.set(chunk, [range]);
        continue;
      }
      for (const other of others) this.#waitFor(range, other);
      others.push(range);
    }
    return range.blockerCount === 0;
  }

  #waitFor(range: LockedRange, other: LockedRange): void {
    if (other.lockEndBytes <= range.lockStartBytes || range.lockEndBytes <= other.lockStartBytes) {
      return;
    }
    // Both may share several chunks; the latest waiter of `other` tells whether it is known.
    if (other.waiters[other.waiters.length - 1] === range) return;
    other.waiters.push(range);
    range.blockerCount++;
  }

  /** Gives a held range back and grants those that waited for it alone. */
  release(range: LockedRange): void {
    invariant(range.entered && range.blockerCount === 0, "only a held range is released");
    const last = Math.floor((range.lockEndBytes - 1) / CHUNK_BYTES);
    for (let chunk = Math.floor(range.lockStartBytes / CHUNK_BYTES); chunk <= last; chunk++) {
      this.#leave(chunk, range);
    }
    range.entered = false;
    this.#enteredCount--;
    if (range.waiters.length === 0) return;
    const waiters = range.waiters.splice(0);
    for (const waiter of waiters) {
      waiter.blockerCount--;
      if (waiter.blockerCount === 0) waiter.granted();
    }
  }

  #leave(chunk: number, range: LockedRange): void {
    const others = this.#chunks.get(chunk);
    invariant(others !== undefined, "a held range stands under its chunks");
    if (others.length === 1) {
      this.#chunks.delete(chunk);
      return;
    }
    // Order matters to nobody: blockers are counted when a range enters.
    const index = others.indexOf(range);
    const tail = others.pop();
    if (tail !== undefined && tail !== range) others[index] = tail;
  }
}
