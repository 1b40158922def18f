/**
 * Waiting for many descriptors at once, and a pipe that ends such a wait from another thread.
 *
 *   struct pollfd   fd i32 @0, events i16 @4, revents i16 @6; 8 bytes
 *
 * Source: poll(2), pipe2(2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import { SystemError } from "../base/system_error.ts";
import { closeFd, OPEN } from "./descriptor.ts";
import { lastErrno } from "./errno.ts";
import { hostOs, libc } from "./libc.ts";
import { mapPages, type Pages, releasePages } from "./memory.ts";

/** Bits of events and revents; the same on both systems. */
export const POLL = { in: 1, out: 4, error: 8, hangup: 16, invalid: 32 } as const;

const POLLFD_BYTES = 8;

/** A set of descriptors to wait for, by index; it grows and is used again and again. */
export class PollSet {
  #pages: Pages;
  #fds: Int32Array;
  #events: Int16Array;

  /** @param capacity Entries before it has to grow. */
  constructor(capacity = 64) {
    this.#pages = mapPages(capacity * POLLFD_BYTES);
    this.#fds = new Int32Array(this.#pages.bytes.buffer);
    this.#events = new Int16Array(this.#pages.bytes.buffer);
  }

  /**
   * Sets one entry. Indexes are the caller's; those below `count` of {@link poll} must be set.
   *
   * @param fd A negative one makes poll(2) pass over the entry.
   * @param events Bits of {@link POLL}; errors and hang-ups are always told.
   */
  set(index: number, fd: number, events: number): void {
    if (index >= this.#fds.length / 2) this.#grow(index + 1);
    this.#fds[2 * index] = fd;
    this.#events[4 * index + 2] = events;
    this.#events[4 * index + 3] = 0;
  }

  /** Changes what an entry waits for. */
  setEvents(index: number, events: number): void {
    this.#events[4 * index + 2] = events;
  }

  /** What the last {@link poll} found: bits of {@link POLL}. */
  revents(index: number): number {
    return this.#events[4 * index + 3] ?? 0;
  }

  /**
   * Waits until one of the first `count` entries is ready. Blocks the thread; signals do not
   * end the wait.
   *
   * @param timeoutMs 0 looks only, -1 waits for ever.
   * @returns The number of entries that are ready.
   * @throws {SystemError} The system has no memory, or `count` is over the limit of descriptors.
   */
  poll(count: number, timeoutMs: number): number {
    invariant(count <= this.#fds.length / 2, "only entries that are set are waited for");
    const result = libc().poll(this.#pages.address, count, timeoutMs);
    return result >= 0 ? result : this.#pollAgain(count, timeoutMs);
  }

  #pollAgain(count: number, timeoutMs: number): number {
    // The signal came at an unknown time: at worst the wait is twice as long, once.
    const deadlineMs = performance.now() + timeoutMs;
    for (let errno = lastErrno(); errno === ERRNO.EINTR; errno = lastErrno()) {
      const leftMs = timeoutMs < 0 ? -1 : Math.max(0, Math.ceil(deadlineMs - performance.now()));
      const result = libc().poll(this.#pages.address, count, leftMs);
      if (result >= 0) return result;
    }
    throw new SystemError(lastErrno(), "poll");
  }

  #grow(capacityMin: number): void {
    const old = this.#pages;
    this.#pages = mapPages(Math.max(capacityMin * POLLFD_BYTES, 2 * old.bytes.length));
    this.#pages.bytes.set(old.bytes);
    this.#fds = new Int32Array(this.#pages.bytes.buffer);
    this.#events = new Int16Array(this.#pages.bytes.buffer);
    releasePages(old);
  }
}

/**
 * Ends another thread's wait in poll(2): that one waits for POLL.in on `readFd` and drains, any
 * thread may {@link wake} it by `writeFd`. Neither end blocks or is inherited by programs.
 */
export class Pipe {
  readonly readFd: number;
  readonly writeFd: number;
  readonly #drained = new Uint8Array(512);

  /** @throws {SystemError} There are too many descriptors. */
  constructor() {
    const fds = new Int32Array(2);
    const flags = OPEN[hostOs()].nonblock | OPEN[hostOs()].closeOnExec;
    if (libc().pipe2(new Uint8Array(fds.buffer), flags) !== 0) {
      throw new SystemError(lastErrno(), "pipe2");
    }
    [this.readFd = -1, this.writeFd = -1] = fds;
  }

  /** Makes `readFd` readable. */
  wake(): void {
    wake(this.writeFd);
  }

  /** Takes what was written, so that `readFd` is not readable any more. */
  drain(): void {
    while (libc().read(this.readFd, this.#drained, this.#drained.length) === 512);
  }

  /** Closes both ends; no thread may use them any longer. */
  close(): void {
    closeFd(this.readFd);
    closeFd(this.writeFd);
  }
}

const ONE_BYTE = new Uint8Array(1);

/** Wakes the thread that waits for the other end of a {@link Pipe}, from any thread. */
export function wake(writeFd: number): void {
  // A full pipe (EAGAIN) wakes as well; a signal may have come first.
  while (libc().write(writeFd, ONE_BYTE, 1) === -1 && lastErrno() === ERRNO.EINTR);
}
