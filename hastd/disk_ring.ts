/**
 * Disk jobs on their way between the loop and the disk threads, in memory that all of them share.
 *
 * A job occupies a slot from its submission until the loop has taken its completion. Slot numbers
 * travel through two rings: submissions, taken by whichever thread is free; completions, taken by
 * the loop. The loop is woken through its pipe only when it says that it sleeps.
 *
 *   Int32 words    0 submissions written   1 submissions taken   2 completions written
 *                  3 the loop sleeps       4 stop                5 write end of the pipe
 *                  then the submission ring, the completion ring (slot + 1, 0 for empty),
 *                  then the slots: op, fd, kind, errno, duration in us, 3 spare
 *   BigUint64      then per slot: address, offset, length
 *
 * Source: Atomics.wait and Atomics.notify of ECMAScript.
 * @module
 */
import { invariant } from "../base/errors.ts";
import { DiskOp } from "../core/ports.ts";
import type { Component } from "../ffi/block_device.ts";

/** Jobs in all threads and both rings together; a power of two. */
export const DISK_SLOTS = 1024;

const SUBMITTED = 0;
const TAKEN = 1;
const COMPLETED = 2;
const SLEEPING = 3;
const STOP = 4;
const PIPE = 5;
const SUBMISSIONS = 8;
const COMPLETIONS = SUBMISSIONS + DISK_SLOTS;
const SLOTS = COMPLETIONS + DISK_SLOTS;
const SLOT_WORDS = 8;
const LONG_WORDS = 3;
const WORDS = SLOTS + DISK_SLOTS * SLOT_WORDS;
const ADDRESSES_AT_BYTES = WORDS * 4;
const RING_BYTES = ADDRESSES_AT_BYTES + DISK_SLOTS * LONG_WORDS * 8;

const OP = 0;
const FD = 1;
const KIND = 2;
const ERRNO = 3;
const DURATION = 4;

/** One job as a disk thread sees it. */
export interface RingJob {
  op: DiskOp;
  fd: number;
  kind: Component["kind"];
  lengthBytes: number;
  offsetBytes: number;
  /** Of the data; 0n where there is none. */
  address: bigint;
}

/** The shared memory, seen from one thread. */
export class DiskRing {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #long: BigUint64Array<SharedArrayBuffer>;
  /** The loop's count of completions that it has taken. */
  #completionsTaken = 0;

  /** @param memory Of another thread's ring; a new ring without it. */
  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(RING_BYTES)) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, WORDS);
    this.#long = new BigUint64Array(memory, ADDRESSES_AT_BYTES, DISK_SLOTS * LONG_WORDS);
  }

  // ---- the loop's side ----

  /** Says where the loop is woken. */
  setPipe(writeFd: number): void {
    Atomics.store(this.#words, PIPE, writeFd);
  }

  /** Hands a job to the threads. `slot` is free: the loop keeps account of them. */
  submit(slot: number, job: RingJob): void {
    const word = SLOTS + slot * SLOT_WORDS;
    this.#words[word + OP] = job.op;
    this.#words[word + FD] = job.fd;
    this.#words[word + KIND] = job.kind === "file" ? 0 : 1;
    this.#long[slot * LONG_WORDS] = job.address;
    this.#long[slot * LONG_WORDS + 1] = BigInt(job.offsetBytes);
    this.#long[slot * LONG_WORDS + 2] = BigInt(job.lengthBytes);
    const count = Atomics.load(this.#words, SUBMITTED);
    Atomics.store(this.#words, SUBMISSIONS + (count & (DISK_SLOTS - 1)), slot);
    Atomics.store(this.#words, SUBMITTED, (count + 1) | 0);
    Atomics.notify(this.#words, SUBMITTED, 1);
  }

  /** The slot of a job that is over, or -1. */
  takeCompletion(): number {
    const index = COMPLETIONS + (this.#completionsTaken & (DISK_SLOTS - 1));
    const entry = Atomics.exchange(this.#words, index, 0);
    if (entry === 0) return -1;
    this.#completionsTaken = (this.#completionsTaken + 1) | 0;
    return entry - 1;
  }

  /** Whether {@link takeCompletion} would find one. */
  get hasCompletion(): boolean {
    const index = COMPLETIONS + (this.#completionsTaken & (DISK_SLOTS - 1));
    return Atomics.load(this.#words, index) !== 0;
  }

  errnoOf(slot: number): number {
    return this.#words[SLOTS + slot * SLOT_WORDS + ERRNO] ?? 0;
  }

  /** How long the thread was busy with it. */
  durationUsOf(slot: number): number {
    return this.#words[SLOTS + slot * SLOT_WORDS + DURATION] ?? 0;
  }

  /** Whether threads must wake the loop. After saying so, look for completions once more. */
  setSleeping(sleeping: boolean): void {
    Atomics.store(this.#words, SLEEPING, sleeping ? 1 : 0);
  }

  /** Ends the threads when nothing is left to do. */
  stop(): void {
    Atomics.store(this.#words, STOP, 1);
    // A change of the word that they wait for, without a job.
    Atomics.notify(this.#words, SUBMITTED);
  }

  // ---- a disk thread's side ----

  /** Waits for a job. Returns its slot, or -1 when the ring is stopped and empty. */
  takeSubmission(): number {
    for (;;) {
      const taken = Atomics.load(this.#words, TAKEN);
      const written = Atomics.load(this.#words, SUBMITTED);
      if (taken === written) {
        if (Atomics.load(this.#words, STOP) !== 0) return -1;
        // The limit covers a stop between the look and the wait.
        Atomics.wait(this.#words, SUBMITTED, written, 1000);
        continue;
      }
      const slot = Atomics.load(this.#words, SUBMISSIONS + (taken & (DISK_SLOTS - 1)));
      const next = (taken + 1) | 0;
      if (Atomics.compareExchange(this.#words, TAKEN, taken, next) === taken) return slot;
    }
  }

  /** What a slot asks for. */
  jobOf(slot: number): RingJob {
    const word = SLOTS + slot * SLOT_WORDS;
    const op = this.#words[word + OP] ?? 0;
    invariant(op >= DiskOp.read && op <= DiskOp.zero, "a slot has a job");
    return {
      op,
      fd: this.#words[word + FD] ?? -1,
      kind: this.#words[word + KIND] === 0 ? "file" : "block device",
      address: this.#long[slot * LONG_WORDS] ?? 0n,
      offsetBytes: Number(this.#long[slot * LONG_WORDS + 1] ?? 0n),
      lengthBytes: Number(this.#long[slot * LONG_WORDS + 2] ?? 0n),
    };
  }

  /**
   * A job is over.
   *
   * @param durationUs How long it took.
   * @returns The descriptor to wake the loop by, or -1 if it does not sleep.
   */
  complete(slot: number, errno: number, durationUs: number): number {
    this.#words[SLOTS + slot * SLOT_WORDS + ERRNO] = errno;
    this.#words[SLOTS + slot * SLOT_WORDS + DURATION] = durationUs;
    const count = Atomics.add(this.#words, COMPLETED, 1);
    Atomics.store(this.#words, COMPLETIONS + (count & (DISK_SLOTS - 1)), slot + 1);
    const sleeps = Atomics.exchange(this.#words, SLEEPING, 0) !== 0;
    return sleeps ? Atomics.load(this.#words, PIPE) : -1;
  }
}
