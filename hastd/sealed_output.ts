/**
 * Output of a socket that carries records: what is queued is sealed when the kernel has room for
 * it, so that many small messages go into one record, and memory that was queued by reference is
 * free as soon as it has been sealed.
 *
 * Source: protocol/secure_record.ts.
 * @module
 */
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import {
  RECORD_HEADER_BYTES,
  RECORD_PLAIN_BYTES_MAX,
  RECORD_TAG_BYTES,
  type RecordSealer,
} from "../protocol/secure_record.ts";
import { type OutputOwner, OutputQueue, type SocketOutput } from "./output_queue.ts";

/** So much may be sealed ahead of the kernel, about. */
export const SEALED_BYTES_MAX = 512 * 1024;

export class SealedOutput implements SocketOutput {
  readonly #sealer: RecordSealer;
  readonly #plain: OutputQueue;
  readonly #sealed: OutputQueue;
  #closed = false;

  constructor(sealer: RecordSealer, pool: BufferPool) {
    this.#sealer = sealer;
    this.#plain = new OutputQueue(pool);
    this.#sealed = new OutputQueue(pool);
  }

  get queuedBytes(): number {
    return this.#plain.queuedBytes + this.#sealed.queuedBytes;
  }

  get sentBytes(): number {
    return this.#sealed.sentBytes;
  }

  reserve(byteCount: number): Uint8Array<ArrayBuffer> {
    return this.#plain.reserve(byteCount);
  }

  get reservedAt(): number {
    return this.#plain.reservedAt;
  }

  commit(byteCount: number): void {
    this.#plain.commit(byteCount);
  }

  reference(
    buffer: IoBuffer,
    offsetBytes: number,
    byteCount: number,
    owner: OutputOwner | undefined,
  ): void {
    this.#plain.reference(buffer, offsetBytes, byteCount, owner);
  }

  send(fd: number): number {
    for (;;) {
      while (this.#plain.queuedBytes > 0 && this.#sealed.queuedBytes < SEALED_BYTES_MAX) {
        this.#sealRecord();
      }
      const errno = this.#sealed.send(fd);
      if (errno !== 0 || this.#plain.queuedBytes === 0) return errno;
    }
  }

  clear(): void {
    this.#closed = true;
    this.#plain.clear();
    this.#sealed.clear();
  }

  #sealRecord(): void {
    const plainBytes = Math.min(this.#plain.queuedBytes, RECORD_PLAIN_BYTES_MAX);
    const target = this.#sealed.reserve(RECORD_HEADER_BYTES + plainBytes + RECORD_TAG_BYTES);
    this.#sealer.begin(target, this.#sealed.reservedAt, plainBytes);
    this.#plain.take(plainBytes, this.#add);
    // An owner that was told may have closed the socket: the room of the record is gone then.
    if (this.#closed) return this.#sealer.abandon();
    this.#sealed.commit(this.#sealer.end());
  }

  readonly #add = (piece: Uint8Array): void => this.#sealer.add(piece);
}
