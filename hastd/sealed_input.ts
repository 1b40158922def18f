/**
 * Input of a socket that carries records: received as it comes, opened a record at a time, and
 * handed out as if the kernel had given it.
 *
 * Source: protocol/secure_record.ts.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import { recv } from "../ffi/socket.ts";
import { RECORD_BYTES_MAX, RecordError, type RecordOpener } from "../protocol/secure_record.ts";

/** What a socket says when a record does not open; the connection is over then. */
export const RECORD_ERRNO = ERRNO.EBADMSG;

const NOTHING = new Uint8Array(0);

export class SealedInput {
  readonly #opener: RecordOpener;
  readonly #buffers: BufferPool;
  /** Records as they came; what is unopened lies at `#start`..`#end`. */
  readonly #buffer: IoBuffer;
  readonly #bufferBytes: number;
  #start = 0;
  #end = 0;
  /** The content of the last record that was opened, from `#plainAt` on. */
  #plain: Uint8Array = NOTHING;
  #plainAt = 0;

  /** @param bufferBytes Received from the kernel at once, at most; a whole record in any case. */
  constructor(opener: RecordOpener, buffers: BufferPool, bufferBytes: number) {
    this.#opener = opener;
    this.#buffers = buffers;
    this.#bufferBytes = Math.max(bufferBytes, RECORD_BYTES_MAX);
    this.#buffer = buffers.take(this.#bufferBytes);
  }

  /** There is something that the kernel need not be asked for. */
  get pending(): boolean {
    return this.#plainAt < this.#plain.length || this.#isNextWhole();
  }

  /**
   * Takes the next `byteCount` bytes of content, or less.
   *
   * @returns As `recv` of ffi/socket.ts; -{@link RECORD_ERRNO} where a record does not open.
   */
  recv(fd: number, target: IoBuffer, offsetBytes: number, byteCount: number): number {
    while (this.#plainAt === this.#plain.length) {
      if (this.#isNextWhole()) {
        if (!this.#openNext()) return -RECORD_ERRNO;
        continue;
      }
      const roomBytes = this.#makeRoom();
      const gotBytes = recv(fd, this.#buffer.address + BigInt(this.#end), roomBytes);
      if (gotBytes <= 0) return gotBytes;
      this.#end += gotBytes;
      // Less than there was room for: the kernel has no more now.
      if (gotBytes < roomBytes && !this.#isNextWhole()) return -ERRNO.EAGAIN;
    }
    const copiedBytes = Math.min(byteCount, this.#plain.length - this.#plainAt);
    const piece = this.#plain.subarray(this.#plainAt, this.#plainAt + copiedBytes);
    target.bytes.set(piece, offsetBytes);
    this.#plainAt += copiedBytes;
    return copiedBytes;
  }

  /** Gives its memory back. */
  close(): void {
    this.#plain = NOTHING;
    this.#plainAt = this.#start = this.#end = 0;
    this.#buffers.give(this.#buffer);
  }

  /** Also true where it can be no record, which opening it will say. */
  #isNextWhole(): boolean {
    try {
      const recordBytes = this.#nextBytes();
      return recordBytes > 0 && recordBytes <= this.#end - this.#start;
    } catch (error) {
      if (error instanceof RecordError) return true;
      throw error;
    }
  }

  #nextBytes(): number {
    return this.#opener.recordBytes(this.#buffer.bytes, this.#start, this.#end);
  }

  #openNext(): boolean {
    try {
      const end = this.#start + this.#nextBytes();
      this.#plain = this.#opener.open(this.#buffer.bytes.subarray(this.#start, end));
      this.#plainAt = 0;
      this.#start = end;
      return true;
    } catch (error) {
      if (error instanceof RecordError) return false;
      throw error;
    }
  }

  /** Room behind what was received; a record that has begun is moved to the front if need be. */
  #makeRoom(): number {
    if (this.#start === this.#end) this.#start = this.#end = 0;
    else if (this.#start > 0 && this.#bufferBytes - this.#start < RECORD_BYTES_MAX) {
      this.#buffer.bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#bufferBytes - this.#end;
  }
}
