/**
 * A list of pieces of memory for one sendmsg(2), used again and again.
 *
 *   struct iovec    address pointer @0, size size_t @8; 16 bytes
 *   struct msghdr   iov pointer @16, iovlen @24 (size_t on Linux, int on FreeBSD); the rest, an
 *                   address and control data, stays zero
 *
 * Source: sendmsg(2), writev(2).
 * @module
 */
import { invariant } from "../base/errors.ts";
import { mapPages, type Pages } from "./memory.ts";

/** Pieces that one call takes: IOV_MAX of both systems. */
export const IOVEC_COUNT_MAX = 1024;

const IOVEC_BYTES = 16;
const HEADER_BYTES = 64;
/** Index in 64-bit words, and in 32-bit words. */
const IOV_WORD = 16 / 8;
const IOVLEN_WORD32 = 24 / 4;

/** Pieces of memory in the order in which they are sent. Its memory stays for good. */
export class IovecList {
  readonly #pages: Pages;
  /** The header, then the pieces, in 64-bit and in 32-bit words. */
  readonly #words: BigUint64Array;
  readonly #words32: Uint32Array;
  readonly #capacity: number;
  /** The first piece that is not sent yet, and the one behind the last. */
  #first = 0;
  #end = 0;
  #byteCount = 0;

  /** @param capacity Pieces between two calls of {@link clear}, 1..1024. */
  constructor(capacity: number = IOVEC_COUNT_MAX) {
    invariant(capacity > 0 && capacity <= IOVEC_COUNT_MAX, "one call takes 1 to 1024 pieces");
    this.#capacity = capacity;
    this.#pages = mapPages(HEADER_BYTES + capacity * IOVEC_BYTES);
    this.#words = new BigUint64Array(this.#pages.bytes.buffer);
    this.#words32 = new Uint32Array(this.#pages.bytes.buffer);
  }

  /** Bytes that are not sent yet. */
  get byteCount(): number {
    return this.#byteCount;
  }

  /** True when {@link push} must not be called before {@link clear}. */
  get full(): boolean {
    return this.#end === this.#capacity;
  }

  /** Forgets all pieces. */
  clear(): void {
    this.#first = 0;
    this.#end = 0;
    this.#byteCount = 0;
  }

  /** Appends a piece of memory, which must stay until it is sent. */
  push(address: bigint, byteCount: number): void {
    invariant(this.#end < this.#capacity, "a list of pieces has room");
    const word = wordOf(this.#end++);
    this.#words[word] = address;
    this.#words32[2 * (word + 1)] = byteCount;
    this.#byteCount += byteCount;
  }

  /** Address of the msghdr for what is not sent yet. */
  message(): bigint {
    invariant(this.#first < this.#end, "there is something to send");
    const offsetBytes = HEADER_BYTES + this.#first * IOVEC_BYTES;
    this.#words[IOV_WORD] = this.#pages.address + BigInt(offsetBytes);
    this.#words32[IOVLEN_WORD32] = this.#end - this.#first;
    return this.#pages.address;
  }

  /** The first `byteCount` bytes are sent: the list begins behind them. */
  advance(byteCount: number): void {
    invariant(byteCount <= this.#byteCount, "no more is sent than there was");
    this.#byteCount -= byteCount;
    let left = byteCount;
    while (this.#first < this.#end) {
      const word = wordOf(this.#first);
      const pieceBytes = this.#words32[2 * (word + 1)] ?? 0;
      if (pieceBytes > left) {
        this.#words[word] = (this.#words[word] ?? 0n) + BigInt(left);
        this.#words32[2 * (word + 1)] = pieceBytes - left;
        return;
      }
      left -= pieceBytes;
      this.#first++;
    }
  }
}

/** Index of the 64-bit word where a piece begins. */
function wordOf(pieceIndex: number): number {
  return (HEADER_BYTES + pieceIndex * IOVEC_BYTES) / 8;
}
