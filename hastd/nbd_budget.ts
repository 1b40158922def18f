/**
 * How much memory NBD clients may fill: a limit for each connection and one for all together.
 *
 * Nobody waits for ever: a connection that holds nothing always gets a small buffer, and large
 * ones are given in the order in which they were asked for. A client that sits on what it holds
 * while others wait is found by `FrontNbd` and cut off.
 *
 * @module
 */
import { invariant } from "../base/errors.ts";
import type { IoBuffer } from "../core/ports.ts";

/** Most that one connection holds: a request of 32 MiB and as much again on its way. */
export const NBD_CONNECTION_BUFFER_BYTES_MAX = 64 * 1024 * 1024;
/** What a connection that holds nothing gets even when all is given away. */
export const NBD_RESERVE_BYTES = 64 * 1024;

/** Where buffers come from; `undefined` where there are none left. */
export interface NbdBufferPool {
  tryTake(byteCount: number): IoBuffer | undefined;
  give(buffer: IoBuffer): void;
}

/** Whoever holds buffers: one connection. Only {@link NbdBudget} changes `heldBytes`. */
export interface BufferHolder {
  heldBytes: number;
  /** The holder waits, and there may be a buffer now. It must not take one from inside. */
  bufferFree(): void;
}

/** Gives out buffers and keeps count. */
export class NbdBudget {
  readonly #pool: NbdBufferPool;
  readonly #totalBytesMax: number;
  readonly #contention: () => void;
  #heldBytes = 0;
  /** Those that were refused, the first to be served first. */
  readonly #waiting: BufferHolder[] = [];

  /** @param contention Called when somebody begins to wait: {@link wake} is to be called then. */
  constructor(pool: NbdBufferPool, totalBytesMax: number, contention: () => void) {
    invariant(totalBytesMax >= NBD_CONNECTION_BUFFER_BYTES_MAX, "the largest request has room");
    this.#pool = pool;
    this.#totalBytesMax = totalBytesMax;
    this.#contention = contention;
  }

  /** Bytes held by all connections. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** True while somebody was refused and has not been served since. */
  get contended(): boolean {
    return this.#waiting.length > 0;
  }

  /**
   * A buffer of `byteCount` bytes, or a smaller one where only the reserve is left.
   *
   * @returns undefined when the holder must try again later; it is remembered as waiting.
   */
  tryTake(holder: BufferHolder, byteCount: number): IoBuffer | undefined {
    if (this.#overOwnLimit(holder, byteCount)) return undefined;
    const buffer = this.#mayTake(holder, byteCount) ? this.#pool.tryTake(byteCount) : undefined;
    if (buffer !== undefined) return this.#took(holder, buffer);
    const reserve = holder.heldBytes === 0
      ? this.#pool.tryTake(Math.min(byteCount, NBD_RESERVE_BYTES))
      : undefined;
    if (reserve !== undefined) return this.#took(holder, reserve);
    this.#wait(holder);
    return undefined;
  }

  /**
   * Buffers for `byteCount` bytes, each of at most `pieceBytes`, all or none.
   *
   * @returns false when the holder must try again later; it is remembered as waiting.
   */
  tryTakeAll(
    holder: BufferHolder,
    byteCount: number,
    { pieceBytes, into }: { pieceBytes: number; into: IoBuffer[] },
  ): boolean {
    into.length = 0;
    if (this.#overOwnLimit(holder, byteCount)) return false;
    if (!this.#mayTake(holder, byteCount) || !this.#takeEach(byteCount, pieceBytes, into)) {
      this.#wait(holder);
      return false;
    }
    for (const buffer of into) this.#took(holder, buffer);
    return true;
  }

  /** A buffer goes back to the pool. */
  give(holder: BufferHolder, buffer: IoBuffer): void {
    this.release(holder, buffer.bytes.length);
    this.#pool.give(buffer);
  }

  /** A buffer of `byteCount` bytes (its true size) has found another owner. */
  release(holder: BufferHolder, byteCount: number): void {
    holder.heldBytes -= byteCount;
    this.#heldBytes -= byteCount;
    invariant(holder.heldBytes >= 0, "no more is given back than was taken");
    this.wake();
  }

  /** Has the first in the line try again: the pool may have got something back from others. */
  wake(): void {
    this.#waiting[0]?.bufferFree();
  }

  /** A holder has ended or given up: it does not wait any more. */
  forget(holder: BufferHolder): void {
    const index = this.#waiting.indexOf(holder);
    if (index !== -1) this.#waiting.splice(index, 1);
  }

  #mayTake(holder: BufferHolder, byteCount: number): boolean {
    if (this.#waiting.length > 0 && this.#waiting[0] !== holder) return false;
    return this.#heldBytes + byteCount <= this.#totalBytesMax;
  }

  #takeEach(byteCount: number, pieceBytes: number, into: IoBuffer[]): boolean {
    for (let leftBytes = byteCount; leftBytes > 0; leftBytes -= pieceBytes) {
      const buffer = this.#pool.tryTake(Math.min(leftBytes, pieceBytes));
      if (buffer === undefined) {
        for (const taken of into) this.#pool.give(taken);
        into.length = 0;
        return false;
      }
      into.push(buffer);
    }
    return true;
  }

  #took(holder: BufferHolder, buffer: IoBuffer): IoBuffer {
    holder.heldBytes += buffer.bytes.length;
    this.#heldBytes += buffer.bytes.length;
    if (this.#waiting.length > 0) this.forget(holder);
    return buffer;
  }

  #wait(holder: BufferHolder): void {
    if (this.#waiting.includes(holder)) return;
    this.#waiting.push(holder);
    this.#contention();
  }

  /** Over its own limit a holder waits for itself only, not in the line. */
  #overOwnLimit(holder: BufferHolder, byteCount: number): boolean {
    if (holder.heldBytes === 0) return false;
    if (holder.heldBytes + byteCount <= NBD_CONNECTION_BUFFER_BYTES_MAX) return false;
    if (this.#waiting.length > 0) this.forget(holder);
    return true;
  }
}
