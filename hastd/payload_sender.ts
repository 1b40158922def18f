/**
 * Data on its way out behind a header: compressed as configured, hashed, and queued with as few
 * copies as may be.
 *
 * Source: wire.md, "Data pipeline".
 * @module
 */
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import type { SentPayload } from "../protocol/io_message.ts";
import {
  COMPRESSED_LENGTH_BYTES,
  compressInto,
  compressionSent,
  type PayloadStages,
  writeHole,
} from "../protocol/payload.ts";
import type { OutputOwner } from "./output_queue.ts";
import type { StreamSocket } from "./stream_socket.ts";

/** Compressed data that the kernel has not taken yet; it goes back to its pool then. */
class Scratch implements OutputOwner {
  readonly #pool: BufferPool;
  readonly #buffer: IoBuffer;

  constructor(pool: BufferPool, buffer: IoBuffer) {
    this.#pool = pool;
    this.#buffer = buffer;
  }

  outputDone(): void {
    this.#pool.give(this.#buffer);
  }
}

/**
 * Prepares one message's data at a time: first `prepare` or `prepareZeros`, then the header is
 * encoded with {@link payload}, then `queue` sends the data behind it.
 */
export class PayloadSender {
  /** What the header is to say; valid until the next `prepare`. */
  readonly payload: SentPayload = {
    compression: undefined,
    checksum: "none",
    sizeBytes: 0,
    data: new Uint8Array(0),
  };
  /** May be changed at any time. */
  stages: PayloadStages;
  readonly #pool: BufferPool;
  readonly #hole = new Uint8Array(COMPRESSED_LENGTH_BYTES);
  #scratch: IoBuffer | undefined = undefined;
  #buffer: IoBuffer | undefined = undefined;
  #offsetBytes = 0;

  constructor(pool: BufferPool, stages: PayloadStages) {
    this.#pool = pool;
    this.stages = stages;
  }

  /** Takes `byteCount` bytes of `buffer` through the stages. */
  prepare(buffer: IoBuffer, offsetBytes: number, byteCount: number): void {
    this.#buffer = buffer;
    this.#offsetBytes = offsetBytes;
    const payload = this.payload;
    payload.checksum = this.stages.checksum;
    payload.compression = undefined;
    payload.sizeBytes = byteCount;
    if (this.stages.compression !== "none") this.#compress(buffer, byteCount);
    if (payload.checksum === "none" || payload.compression === "hole") return;
    payload.data = this.#scratch?.bytes.subarray(0, payload.sizeBytes) ??
      buffer.bytes.subarray(offsetBytes, offsetBytes + byteCount);
  }

  /** As {@link prepare}, for `byteCount` zeros that are nowhere in memory. */
  prepareZeros(byteCount: number): void {
    writeHole(byteCount, this.#hole);
    this.#beHole();
    this.payload.checksum = this.stages.checksum;
  }

  /**
   * Queues the data, behind the header that has been queued.
   *
   * @param owner As for `StreamSocket.writeBuffer`.
   * @returns As `StreamSocket.writeBuffer`: whether the buffer of `prepare` is free at once.
   */
  queue(socket: StreamSocket, owner?: OutputOwner): boolean {
    const { compression, sizeBytes } = this.payload;
    const buffer = this.#buffer;
    this.#buffer = undefined;
    if (compression === "hole") {
      socket.write(this.#hole);
      return true;
    }
    if (this.#scratch !== undefined) {
      this.#queueScratch(socket, this.#scratch, sizeBytes);
      return true;
    }
    return buffer === undefined ||
      socket.writeBuffer(buffer, this.#offsetBytes, sizeBytes, owner);
  }

  #queueScratch(socket: StreamSocket, scratch: IoBuffer, sizeBytes: number): void {
    this.#scratch = undefined;
    const owner = new Scratch(this.#pool, scratch);
    if (socket.writeBuffer(scratch, 0, sizeBytes, owner)) owner.outputDone();
  }

  #compress(buffer: IoBuffer, byteCount: number): void {
    const { compression } = this.stages;
    const data = buffer.bytes.subarray(this.#offsetBytes, this.#offsetBytes + byteCount);
    const scratch = compression === "lzf" && byteCount > COMPRESSED_LENGTH_BYTES
      ? this.#pool.take(byteCount)
      : undefined;
    const sizeBytes = compressInto(compression, data, scratch?.bytes ?? this.#hole);
    const sent = compressionSent(sizeBytes);
    if (sent === "lzf") {
      this.payload.compression = sent;
      this.payload.sizeBytes = sizeBytes;
      this.#scratch = scratch;
      return;
    }
    if (sent === "hole") {
      writeHole(byteCount, this.#hole);
      this.#beHole();
    }
    if (scratch !== undefined) this.#pool.give(scratch);
  }

  #beHole(): void {
    this.payload.compression = "hole";
    this.payload.sizeBytes = COMPRESSED_LENGTH_BYTES;
    this.payload.data = this.#hole;
  }
}
