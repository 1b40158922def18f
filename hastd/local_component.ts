/**
 * The local component as the core sees it: jobs in, results later.
 *
 * Of a regular file most operations only touch the page cache and are done by the loop itself,
 * all that have gathered in one batch. What blocks goes to the disk threads: flushes, large
 * ranges, and everything of a component that is a device or has turned out to be slow.
 *
 * Source: disk.md; core/ports.ts.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { type Disk, type DiskJob, DiskOp } from "../core/ports.ts";
import type { Component } from "../ffi/block_device.ts";
import { Pipe, POLL } from "../ffi/poll.ts";
import { runDiskOperation } from "./disk_operation.ts";
import { DISK_SLOTS, DiskRing, type RingJob } from "./disk_ring.ts";
import type { BatchWork, Pollable, Reactor } from "./reactor.ts";

/** Threads of a component whose operations are done by the loop: for flushes. */
export const THREADS_INLINE = 1;
/** Threads of a component that blocks. */
export const THREADS_BLOCKING = 8;
/** Longest range that the loop deletes or zeroes itself. */
const INLINE_EFFECT_BYTES_MAX = 4 * 1024 * 1024;
/** An operation that takes longer than this, beyond the time for its bytes, blocks. */
const SLOW_US = 250;
/** One that takes less does not. In between everything stays as it is. */
const FAST_US = 60;
/** What copying takes: bytes in a microsecond, at least. */
const BYTES_PER_US = 1000;
/** One measurement says no more than this: the process may have waited for its turn. */
const SAMPLE_US_MAX = 1000;
/** Weight of the newest measurement: it takes five slow ones in a row, or many among fast ones. */
const NEWEST_WEIGHT = 1 / 16;

export interface LocalComponentEnv {
  readonly reactor: Reactor;
  /**
   * There should be `count` disk threads more for the ring in `memory`; they may come later.
   */
  readonly startThreads: (memory: SharedArrayBuffer, count: number) => void;
}

/** See the module. */
export class LocalComponent implements Disk, BatchWork, Pollable {
  readonly component: Component;
  readonly #env: LocalComponentEnv;
  readonly #ring = new DiskRing();
  readonly #pipe = new Pipe();
  /** Jobs to be done by the loop. */
  #inline: DiskJob[] = [];
  #spare: DiskJob[] = [];
  /** Jobs for the threads that found no slot. */
  readonly #backlog: DiskJob[] = [];
  readonly #jobs: (DiskJob | undefined)[] = new Array(DISK_SLOTS).fill(undefined);
  readonly #freeSlots: number[] = Array.from({ length: DISK_SLOTS }, (_, slot) => slot);
  /** Flushes that the flush under way does not cover. */
  #nextFlush: DiskJob[] = [];
  /** Flushes that it does; undefined while there is none. */
  #currentFlush: DiskJob[] | undefined = undefined;
  #canDelete = true;
  #threadCount = 0;
  #pendingCount = 0;
  /** Average duration beyond what the bytes take, in microseconds. */
  #slownessUs = 0;
  #blocking: boolean;
  readonly #request: RingJob;

  /** `component` is open, and stays open until after {@link close}. */
  constructor(component: Component, env: LocalComponentEnv) {
    this.component = component;
    this.#env = env;
    this.#blocking = component.kind !== "file";
    this.#request = {
      op: DiskOp.read,
      fd: component.fd,
      kind: component.kind,
      lengthBytes: 0,
      offsetBytes: 0,
      address: 0n,
    };
    this.#ring.setPipe(this.#pipe.writeFd);
    env.reactor.register(this.#pipe.readFd, POLL.in, this);
    env.reactor.setBatchWork(this);
    this.#needThreads();
  }

  /** Jobs that are not over. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  /** Whether everything is left to the threads. */
  get blocking(): boolean {
    return this.#blocking;
  }

  submit(job: DiskJob): void {
    this.#pendingCount++;
    if (job.op === DiskOp.flush) this.#nextFlush.push(job);
    else if (this.#blocking || this.#isLarge(job)) this.#toThreads(job);
    else this.#inline.push(job);
    if (job.op === DiskOp.flush) this.#startFlush();
  }

  #isLarge(job: DiskJob): boolean {
    return job.op >= DiskOp.delete && job.lengthBytes > INLINE_EFFECT_BYTES_MAX;
  }

  // ---- the loop's batches ----

  get pending(): boolean {
    return this.#inline.length > 0 || this.#ring.hasCompletion;
  }

  runBatch(): void {
    this.#takeCompletions();
    if (this.#inline.length === 0) return;
    const jobs = this.#inline;
    this.#inline = this.#spare;
    this.#spare = jobs;
    const startMs = performance.now();
    let byteCount = 0;
    for (const job of jobs) {
      byteCount += job.lengthBytes;
      this.#finish(job, this.#runInline(job));
    }
    const durationUs = (performance.now() - startMs) * 1000;
    this.#measured(durationUs / jobs.length, byteCount / jobs.length);
    jobs.length = 0;
  }

  mayWait(): boolean {
    if (this.#freeSlots.length === DISK_SLOTS) return true;
    this.#ring.setSleeping(true);
    if (!this.#ring.hasCompletion) return true;
    this.#ring.setSleeping(false);
    return false;
  }

  waited(): void {
    this.#ring.setSleeping(false);
  }

  /** A thread has woken the loop: the completions are taken with the next batch. */
  ready(): void {
    this.#pipe.drain();
  }

  #runInline(job: DiskJob): number {
    if (job.op === DiskOp.delete && !this.#canDelete) return ERRNO.EOPNOTSUPP;
    return runDiskOperation(this.#requestOf(job));
  }

  #requestOf(job: DiskJob): RingJob {
    const request = this.#request;
    request.op = job.op;
    request.offsetBytes = job.offsetBytes;
    request.lengthBytes = job.lengthBytes;
    request.address = job.buffer === undefined
      ? 0n
      : job.buffer.address + BigInt(job.bufferOffsetBytes);
    return request;
  }

  #finish(job: DiskJob, errno: number): void {
    if (errno === ERRNO.EOPNOTSUPP && job.op === DiskOp.delete) this.#canDelete = false;
    this.#pendingCount--;
    job.diskDone(errno);
  }

  // ---- the threads ----

  #toThreads(job: DiskJob): void {
    const slot = this.#freeSlots.pop();
    if (slot === undefined) {
      this.#backlog.push(job);
      return;
    }
    this.#jobs[slot] = job;
    this.#ring.submit(slot, this.#requestOf(job));
  }

  #startFlush(): void {
    if (this.#currentFlush !== undefined) return;
    const [first] = this.#nextFlush;
    if (first === undefined) return;
    this.#currentFlush = this.#nextFlush;
    this.#nextFlush = [];
    this.#toThreads(first);
  }

  #takeCompletions(): void {
    for (let slot = this.#ring.takeCompletion(); slot !== -1; slot = this.#ring.takeCompletion()) {
      const job = this.#jobs[slot];
      const errno = this.#ring.errnoOf(slot);
      const durationUs = this.#ring.durationUsOf(slot);
      this.#jobs[slot] = undefined;
      this.#freeSlots.push(slot);
      const waiting = this.#backlog.shift();
      if (waiting !== undefined) this.#toThreads(waiting);
      if (job?.op === DiskOp.flush) this.#flushed(errno);
      else if (job !== undefined) this.#doneByThread(job, errno, durationUs);
    }
  }

  #doneByThread(job: DiskJob, errno: number, durationUs: number): void {
    if (!this.#isLarge(job)) this.#measured(durationUs, job.lengthBytes);
    this.#finish(job, errno);
  }

  #flushed(errno: number): void {
    const jobs = this.#currentFlush ?? [];
    this.#currentFlush = undefined;
    this.#startFlush();
    for (const job of jobs) this.#finish(job, errno);
  }

  /** Follows how long operations take, and changes over where they block. */
  #measured(durationUs: number, byteCount: number): void {
    const beyondUs = Math.min(
      Math.max(0, durationUs - byteCount / BYTES_PER_US),
      SAMPLE_US_MAX,
    );
    this.#slownessUs += (beyondUs - this.#slownessUs) * NEWEST_WEIGHT;
    if (!this.#blocking && this.#slownessUs > SLOW_US) {
      this.#blocking = true;
      this.#needThreads();
    } else if (this.#blocking && this.#slownessUs < FAST_US && this.component.kind === "file") {
      this.#blocking = false;
    }
  }

  #needThreads(): void {
    const count = this.#blocking ? THREADS_BLOCKING : THREADS_INLINE;
    if (count <= this.#threadCount) return;
    this.#env.startThreads(this.#ring.memory, count - this.#threadCount);
    this.#threadCount = count;
  }

  /** Ends the threads; the component itself is closed by whoever opened it. */
  close(): void {
    this.#ring.stop();
    this.#env.reactor.unregister(this.#pipe.readFd);
  }
}
