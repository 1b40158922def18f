/**
 * A component in memory whose unflushed sectors a power cut may drop.
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

const SECTOR_BYTES = 512;

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
  readonly #durable: Uint8Array<ArrayBuffer>;
  constructor(byteCount: number) {
    this.written = new Uint8Array(byteCount);
    this.#durable = new Uint8Array(byteCount);
  }

  flush(): void {
    this.#durable.set(this.written);
  }

  /** Each sector that was not flushed is kept or lost. */
  powerCut(random: Random): void {
    for (let at = 0; at < this.written.length; at += SECTOR_BYTES) {
      if (random.chance(0.5)) {
        this.written.set(this.#durable.subarray(at, at + SECTOR_BYTES), at);
      }
    }
    this.#durable.set(this.written);
  }
}

/** One process's view of a medium: jobs take a while and finish in any order. */
export class MemoryDisk implements Disk {
  readonly #medium: Medium;
  readonly #random: Random;
  readonly #scheduler: Scheduler;
  /** Chance that a job fails that lies at `failFromBytes` or beyond. */
  failChance = 0;
  failFromBytes = 0;
  #alive = true;

  constructor(medium: Medium, random: Random, scheduler: Scheduler) {
    this.#medium = medium;
    this.#random = random;
    this.#scheduler = scheduler;
  }

  /** The process is gone: what it had submitted happens or not, nobody is told. */
  kill(): void {
    this.#alive = false;
  }

  submit(job: DiskJob): void {
    const copy = {
      op: job.op,
      at: job.offsetBytes,
      length: job.lengthBytes,
    };
    this.#scheduler.after(this.#random.below(20), () => {
      if (!this.#alive) return;
      const errno = this.#perform(job, copy.op, copy.at, copy.length);
      this.#scheduler.after(this.#random.below(5), () => {
        if (this.#alive) job.diskDone(errno);
      });
    });
  }

  #perform(job: DiskJob, op: DiskOp, at: number, length: number): number {
    const { written } = this.#medium;
    if (at + length > written.length) return ERRNO.EINVAL;
    if (at >= this.failFromBytes && length > 0 && this.#random.chance(this.failChance)) {
      return ERRNO.EIO;
    }
    const from = job.bufferOffsetBytes;
    switch (op) {
      case DiskOp.read:
        job.buffer?.bytes.set(written.subarray(at, at + length), from);
        return 0;
      case DiskOp.write:
        if (job.buffer === undefined) return ERRNO.EFAULT;
        written.set(job.buffer.bytes.subarray(from, from + length), at);
        return 0;
      case DiskOp.delete:
      case DiskOp.zero:
        written.fill(0, at, at + length);
        return 0;
      case DiskOp.flush:
        this.#medium.flush();
        return 0;
    }
  }
}
