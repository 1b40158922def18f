/**
 * A component in memory: a process may be killed at any operation, and a power cut takes unflushed
 * sectors, each by itself.
 * @module
 */
import { ERRNO } from "../../base/errno.ts";
import {
  type BufferPool,
  type Disk,
  type DiskJob,
  DiskOp,
  type IoBuffer,
} from "../../core/ports.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

export const SECTOR_BYTES = 512;
const USUAL_MS = 20;
const SLOW_MS = 300;

export function heapBuffer(byteCount: number): IoBuffer {
  return { bytes: new Uint8Array(byteCount), address: 0n };
}

/** Hands out buffers and fills what comes back with rubbish, so that a late reader is seen. */
export class CheckedPool implements BufferPool {
  readonly #out = new Set<IoBuffer>();
  take(byteCount: number): IoBuffer {
    const buffer = heapBuffer(byteCount);
    this.#out.add(buffer);
    return buffer;
  }
  give(buffer: IoBuffer): void {
    if (!this.#out.delete(buffer)) throw new Error("a buffer was given back twice");
    buffer.bytes.fill(0xdb);
  }
  get outCount(): number {
    return this.#out.size;
  }
}

/** The medium: outlives the processes that use it. */
export class Medium {
  readonly written: Uint8Array<ArrayBuffer>;
  /** What a power cut leaves at least. */
  readonly durable: Uint8Array<ArrayBuffer>;
  constructor(byteCount: number) {
    this.written = new Uint8Array(byteCount);
    this.durable = new Uint8Array(byteCount);
  }

  /** Changes whenever {@link durable} may have changed. */
  flushCount = 0;

  flush(): void {
    this.flushCount++;
    this.durable.set(this.written);
  }

  /** Each sector that was not flushed is kept or lost. */
  powerCut(random: Random): void {
    for (let at = 0; at < this.written.length; at += SECTOR_BYTES) {
      if (random.chance(0.5)) {
        this.written.set(this.durable.subarray(at, at + SECTOR_BYTES), at);
      }
    }
    this.flush();
  }
}

/** What goes wrong on a component. */
export interface DiskFaults {
  /** Chance that a job fails that touches data. */
  dataErrorChance: number;
  /** Chance that a write of map or metadata fails. */
  metaErrorChance: number;
  /** Chance that a flush fails. */
  flushErrorChance: number;
  /** Chance that a job takes much longer than usual. */
  slowChance: number;
  /** Where data begins. */
  dataOffsetBytes: number;
  /** The component cannot discard, or has no cache to flush. */
  deleteUnsupported: boolean;
  flushUnsupported: boolean;
}

/** Where in the life of an operation its process dies. */
export type CrashMoment = "before" | "torn" | "after";

interface Pending {
  readonly job: DiskJob;
  readonly op: DiskOp;
  readonly at: number;
  readonly length: number;
}

/** One process's view of a medium: jobs take a while and finish in any order. */
export class MemoryDisk implements Disk {
  readonly #medium: Medium;
  readonly #random: Random;
  readonly #scheduler: Scheduler;
  readonly #faults: DiskFaults;
  readonly #pending = new Set<Pending>();
  #alive = true;
  #crash: { afterCount: number; moment: CrashMoment; die: () => boolean } | undefined = undefined;

  constructor(medium: Medium, random: Random, scheduler: Scheduler, faults: DiskFaults) {
    this.#medium = medium;
    this.#random = random;
    this.#scheduler = scheduler;
    this.#faults = faults;
  }

  /** Called when a job is about to fail. */
  failed = (): void => {};

  /** Jobs that are not over. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /**
   * Lets the process die at one of its next operations.
   *
   * @param die Ends it, or returns false where it cannot die now: then it lives on.
   */
  crashAt(afterCount: number, moment: CrashMoment, die: () => boolean): void {
    this.#crash = { afterCount, moment, die };
  }

  /** The process is gone: what it had submitted happens, wholly or in part, or not. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const pending of this.#pending) {
      if (this.#random.chance(0.5)) this.#perform(pending, this.#random.chance(0.3));
    }
    this.#pending.clear();
  }

  submit(job: DiskJob): void {
    const pending = { job, op: job.op, at: job.offsetBytes, length: job.lengthBytes };
    this.#pending.add(pending);
    const slow = this.#random.chance(this.#faults.slowChance);
    this.#scheduler.after(this.#random.below(slow ? SLOW_MS : USUAL_MS), () => {
      if (!this.#alive || this.#crashes(pending)) return;
      const errno = this.#result(pending);
      if (errno === ERRNO.EIO) this.failed();
      if (errno === 0) this.#perform(pending, false);
      else if (errno === ERRNO.EIO && this.#random.chance(0.3)) this.#perform(pending, true);
      this.#scheduler.after(this.#random.below(5), () => {
        if (!this.#alive) return;
        this.#pending.delete(pending);
        job.diskDone(errno);
      });
    });
  }

  #crashes(pending: Pending): boolean {
    const crash = this.#crash;
    if (crash === undefined || crash.afterCount-- > 0) return false;
    this.#crash = undefined;
    this.#pending.delete(pending);
    if (!crash.die()) {
      this.#pending.add(pending);
      return false;
    }
    if (crash.moment !== "before") this.#perform(pending, crash.moment === "torn");
    return true;
  }

  #result({ op, at, length }: Pending): number {
    const { dataErrorChance, metaErrorChance, flushErrorChance, dataOffsetBytes } = this.#faults;
    if (at + length > this.#medium.written.length) return ERRNO.EINVAL;
    if (op === DiskOp.flush && this.#faults.flushUnsupported) return ERRNO.EOPNOTSUPP;
    if (op === DiskOp.delete && this.#faults.deleteUnsupported) return ERRNO.EOPNOTSUPP;
    const chance = op === DiskOp.flush
      ? flushErrorChance
      : at >= dataOffsetBytes
      ? dataErrorChance
      : metaErrorChance;
    return this.#random.chance(chance) ? ERRNO.EIO : 0;
  }

  #perform({ job, op, at, length }: Pending, torn: boolean): void {
    if (op === DiskOp.flush) {
      if (!torn) this.#medium.flush();
      return;
    }
    const { written } = this.#medium;
    const from = job.bufferOffsetBytes;
    if (op === DiskOp.read) {
      if (this.#alive) job.buffer?.bytes.set(written.subarray(at, at + length), from);
      return;
    }
    for (let done = 0; done < length; done += SECTOR_BYTES) {
      if (torn && this.#random.chance(0.5)) continue;
      if (op !== DiskOp.write) written.fill(0, at + done, at + done + SECTOR_BYTES);
      else {
        const start = from + done;
        const data = job.buffer?.bytes.subarray(start, start + SECTOR_BYTES);
        if (data === undefined) throw new Error("a write without data");
        written.set(data, at + done);
      }
    }
    if (this.#faults.flushUnsupported) this.#medium.flush(); // Nothing is cached.
  }
}
