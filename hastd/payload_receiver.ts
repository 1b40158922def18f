/**
 * Data on its way in behind a header: received straight into the buffer of its request where it is
 * not compressed, checked against its hash, and only then said to be there.
 *
 * Source: wire.md, "Data pipeline".
 * @module
 */
import { invariant, ProtocolError } from "../base/errors.ts";
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import { verifyHash } from "../protocol/checksum.ts";
import type { IoHeader } from "../protocol/io_message.ts";
import { COMPRESSED_LENGTH_BYTES, decompress, decompressedBytes } from "../protocol/payload.ts";
import type { StreamSocket } from "./stream_socket.ts";

/** What nobody wants is read off in pieces of this size. */
const DISCARD_BYTES = 64 * 1024;

/** Where data goes. */
export interface PayloadTarget {
  /** undefined where a hole, and nothing else, needs no buffer. */
  readonly buffer: IoBuffer | undefined;
  readonly bufferOffsetBytes: number;
  /** What the data must come to after decompression. */
  readonly lengthBytes: number;
}

/** Receives the data of one message at a time. */
export class PayloadReceiver {
  readonly #pool: BufferPool;
  readonly #socket: StreamSocket;
  readonly #done: () => void;
  #target: PayloadTarget | undefined = undefined;
  #compression: string | undefined = undefined;
  #checksum: string | undefined = undefined;
  #hash: Uint8Array | undefined = undefined;
  #sizeBytes = 0;
  /** Compressed data, or what is thrown away; undefined while data goes to its target directly. */
  #raw: IoBuffer | undefined = undefined;
  #discardLeftBytes = 0;

  /** @param done Called from the loop when data is there that was not at once. */
  constructor(socket: StreamSocket, pool: BufferPool, done: () => void) {
    this.#socket = socket;
    this.#pool = pool;
    this.#done = done;
  }

  /**
   * Begins to receive the data behind `header`, which has been consumed and must not be used for
   * another before {@link finish}.
   *
   * @returns Whether all of it is there; if not, `done` will be called. In any case
   * {@link finish} is next.
   * @throws {ProtocolError} The data cannot be what the target needs.
   */
  begin(header: IoHeader, target: PayloadTarget): boolean {
    this.#target = target;
    this.#compression = header.compression;
    this.#checksum = header.checksum;
    this.#hash = header.hash;
    this.#sizeBytes = header.sizeBytes;
    this.#checkSize(target.lengthBytes);
    if (this.#compression === undefined) {
      invariant(target.buffer !== undefined, "data needs a buffer");
      return this.#receive(target.buffer, target.bufferOffsetBytes);
    }
    this.#raw = this.#pool.take(this.#sizeBytes);
    return this.#receive(this.#raw, 0);
  }

  #receive(buffer: IoBuffer, offsetBytes: number): boolean {
    return this.#socket.readInto(buffer, offsetBytes, this.#sizeBytes, this.#done);
  }

  #checkSize(lengthBytes: number): void {
    const sizeBytes = this.#sizeBytes;
    const fits = this.#compression === undefined
      ? sizeBytes === lengthBytes
      : sizeBytes >= COMPRESSED_LENGTH_BYTES && sizeBytes <= lengthBytes;
    if (fits) return;
    throw new ProtocolError(`Cannot take ${sizeBytes} bytes of data for ${lengthBytes}`);
  }

  /**
   * All of it is there: checks and decompresses it.
   *
   * @throws {ProtocolError} It is damaged.
   */
  finish(): void {
    const target = this.#target;
    invariant(target !== undefined, "data was begun");
    this.#target = undefined;
    const raw = this.#raw;
    this.#raw = undefined;
    try {
      if (raw !== undefined) this.#finishRaw(raw.bytes.subarray(0, this.#sizeBytes), target);
      else if (this.#checksum !== undefined && target.buffer !== undefined) {
        const start = target.bufferOffsetBytes;
        this.#verify(target.buffer.bytes.subarray(start, start + this.#sizeBytes));
      }
    } finally {
      if (raw !== undefined) this.#pool.give(raw);
    }
  }

  #finishRaw(raw: Uint8Array, target: PayloadTarget): void {
    const { buffer, bufferOffsetBytes, lengthBytes } = target;
    this.#verify(raw);
    const sizeBytes = decompressedBytes(this.#compression, raw);
    if (sizeBytes !== lengthBytes) {
      throw new ProtocolError(`Cannot take ${sizeBytes} bytes of data for ${lengthBytes}`);
    }
    if (buffer === undefined) {
      invariant(this.#compression === "hole", "only a hole needs no buffer");
      return;
    }
    const end = bufferOffsetBytes + lengthBytes;
    decompress(this.#compression, raw, buffer.bytes.subarray(bufferOffsetBytes, end));
  }

  #verify(raw: Uint8Array): void {
    if (this.#checksum === undefined) return;
    if (this.#hash === undefined) throw new ProtocolError("Cannot check data: there is no 'hash'");
    verifyHash(this.#checksum, this.#hash, raw);
  }

  /**
   * Reads off `byteCount` bytes that nobody wants.
   *
   * @returns As {@link begin}; {@link finish} must not be called.
   */
  discard(byteCount: number): boolean {
    this.#raw = this.#pool.take(DISCARD_BYTES);
    this.#discardLeftBytes = byteCount;
    return this.#discardMore();
  }

  readonly #discarded = (): void => {
    if (this.#discardMore()) this.#done();
  };

  #discardMore(): boolean {
    const raw = this.#raw;
    invariant(raw !== undefined, "there is room for what nobody wants");
    while (this.#discardLeftBytes > 0) {
      const pieceBytes = Math.min(this.#discardLeftBytes, DISCARD_BYTES);
      this.#discardLeftBytes -= pieceBytes;
      if (!this.#socket.readInto(raw, 0, pieceBytes, this.#discarded)) return false;
    }
    this.close();
    return true;
  }

  /** Gives back what it holds: the connection is over. */
  close(): void {
    if (this.#raw !== undefined) this.#pool.give(this.#raw);
    this.#raw = undefined;
    this.#target = undefined;
  }
}
