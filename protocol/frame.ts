/**
 * Frame: every message between two HAST processes.
 *
 *   offset  size  field        meaning
 *   0       1     version      of the sender, 0..2
 *   1       4     headerBytes  n, size of the name-value block, little-endian
 *   5       n     header       name-value block
 *   5+n     s     data         s is the block's uint32 `size`; absent or 0 means no data
 *
 * Source: wire.md, "Frame".
 * @module
 */
import { invariant, ProtocolError } from "../base/errors.ts";
import { Nv } from "./nv.ts";

/** Version that this program speaks. */
export const PROTOCOL_VERSION = 2;
/** Bytes in front of the name-value block. */
export const FRAME_PREFIX_BYTES = 5;
/** Largest header. Ours: the original trusts the peer. The status of 1,000 resources fits. */
export const HEADER_BYTES_MAX = 1024 * 1024;
/** Most data in one frame: a request of 32 MiB, and what a stage may add to it. */
export const DATA_BYTES_MAX = 32 * 1024 * 1024 + 4096;

/** A whole message. */
export interface Frame {
  /** Version byte of the sender, 0..2. */
  version: number;
  header: Nv;
  /** As sent: not yet through the payload stages. Empty where there is none. */
  data: Uint8Array;
}

/** Limits of one reader; by default those of this module. */
export interface FrameLimits {
  headerBytesMax?: number;
  dataBytesMax?: number;
}

const NO_DATA = new Uint8Array(0);
/** A reader gives a buffer larger than this back once little is pending. */
const BUFFER_KEPT_BYTES = 64 * 1024;

/**
 * Encodes a message. Nothing is added to `header`: where there is data, its `size` must say so.
 *
 * @param version Version byte, 0..2.
 * @param data Already through the payload stages.
 */
export function encodeFrame(
  version: number,
  header: Nv,
  data: Uint8Array = NO_DATA,
): Uint8Array<ArrayBuffer> {
  invariant(version >= 0 && version <= PROTOCOL_VERSION, "a frame has a version of ours");
  invariant((header.u32("size") ?? 0) === data.length, "the header tells the size of the data");
  const headerBytes = header.encodedBytes;
  invariant(headerBytes > 0, "a header has entries");
  const bytes = new Uint8Array(FRAME_PREFIX_BYTES + headerBytes + data.length);
  bytes[0] = version;
  new DataView(bytes.buffer).setUint32(1, headerBytes, true);
  header.encodeInto(bytes, FRAME_PREFIX_BYTES);
  bytes.set(data, FRAME_PREFIX_BYTES + headerBytes);
  return bytes;
}

/** Prefix of a frame. */
export interface FramePrefix {
  version: number;
  headerBytes: number;
}

/**
 * Decodes the prefix of a message.
 *
 * @param bytes At least 5 bytes, straight from the peer.
 * @throws {ProtocolError} The version is newer than ours, or the header empty or over the limit.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const prefix = decodeFramePrefix(new Uint8Array([2, 22, 0, 0, 0]));
 * assertEquals(prefix, { version: 2, headerBytes: 22 });
 * ```
 */
export function decodeFramePrefix(
  bytes: Uint8Array,
  headerBytesMax: number = HEADER_BYTES_MAX,
): FramePrefix {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = view.getUint8(0);
  if (version > PROTOCOL_VERSION) {
    throw new ProtocolError(`Cannot read a frame of version ${version}: newest is version 2`);
  }
  const headerBytes = view.getUint32(1, true);
  if (headerBytes === 0) throw new ProtocolError("Cannot read a frame with an empty header");
  if (headerBytes > headerBytesMax) {
    throw new ProtocolError(
      `Cannot read a header of ${headerBytes} bytes: the limit is ${headerBytesMax}`,
    );
  }
  return { version, headerBytes };
}

/**
 * Takes a stream apart into frames, whatever its chunks are.
 *
 * After each `push`, call `next` until it answers undefined: then no more than one frame is pending.
 * Memory is at most twice the bytes pending (or 64 KiB), never what a prefix merely announces. Once an
 * error has been thrown, every further `next` throws it again: nothing after it can be trusted.
 *
 * @example A frame in two pieces
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { Nv } from "./nv.ts";
 * const bytes = encodeFrame(2, new Nv().addU8("cmd", 5));
 * const reader = new FrameReader();
 * reader.push(bytes.subarray(0, 3));
 * assertEquals(reader.next(), undefined);
 * reader.push(bytes.subarray(3));
 * assertEquals(reader.next()?.header.u8("cmd"), 5);
 * ```
 */
export class FrameReader {
  readonly #headerBytesMax: number;
  readonly #dataBytesMax: number;
  #buffer = new Uint8Array(0);
  /** Unread bytes are those from `#start` to `#end`. */
  #start = 0;
  #end = 0;
  /** Frame whose header has been decoded and taken off the buffer. */
  #partial: { version: number; header: Nv; dataBytes: number } | undefined = undefined;
  #error: unknown = undefined;

  constructor(limits: FrameLimits = {}) {
    this.#headerBytesMax = limits.headerBytesMax ?? HEADER_BYTES_MAX;
    this.#dataBytesMax = limits.dataBytesMax ?? DATA_BYTES_MAX;
  }

  /** Bytes that arrived and belong to no frame returned so far (a header decoded ahead aside). */
  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** Takes the next bytes of the stream; they are copied. After an error they are dropped. */
  push(chunk: Uint8Array): void {
    if (this.#error !== undefined) return;
    this.#makeRoom(chunk.length);
    this.#buffer.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /**
   * The next whole frame, or undefined until more arrives. It owns its bytes.
   *
   * @throws {ProtocolError} What arrived is no frame, or over a limit.
   */
  next(): Frame | undefined {
    if (this.#error !== undefined) throw this.#error;
    try {
      return this.#next();
    } catch (error) {
      this.#error = error;
      throw error;
    }
  }

  /**
   * The stream has ended.
   *
   * @throws {ProtocolError} It ended within a frame.
   */
  end(): void {
    if (this.#error !== undefined) throw this.#error;
    if (this.pendingBytes > 0 || this.#partial !== undefined) {
      throw new ProtocolError(
        `Connection ended within a frame, with ${this.pendingBytes} bytes of it pending`,
      );
    }
  }

  #next(): Frame | undefined {
    this.#partial ??= this.#takeHeader();
    if (this.#partial === undefined) return undefined;
    const { version, header, dataBytes } = this.#partial;
    if (this.pendingBytes < dataBytes) return undefined;
    const data = this.#take(dataBytes).slice();
    this.#partial = undefined;
    return { version, header, data };
  }

  #takeHeader(): { version: number; header: Nv; dataBytes: number } | undefined {
    if (this.pendingBytes < FRAME_PREFIX_BYTES) return undefined;
    const prefix = decodeFramePrefix(
      this.#buffer.subarray(this.#start, this.#start + FRAME_PREFIX_BYTES),
      this.#headerBytesMax,
    );
    if (this.pendingBytes < FRAME_PREFIX_BYTES + prefix.headerBytes) return undefined;
    this.#take(FRAME_PREFIX_BYTES);
    const header = Nv.decode(this.#take(prefix.headerBytes));
    const dataBytes = header.u32("size") ?? 0;
    if (dataBytes > this.#dataBytesMax) {
      throw new ProtocolError(
        `Cannot read ${dataBytes} bytes of data: the limit is ${this.#dataBytesMax}`,
      );
    }
    return { version: prefix.version, header, dataBytes };
  }

  #take(byteCount: number): Uint8Array {
    const bytes = this.#buffer.subarray(this.#start, this.#start + byteCount);
    this.#start += byteCount;
    return bytes;
  }

  /** Makes room behind the unread bytes; what is moved or allocated is in proportion to a push. */
  #makeRoom(byteCount: number): void {
    if (this.#end + byteCount <= this.#buffer.length) return;
    const unread = this.#buffer.subarray(this.#start, this.#end);
    const neededBytes = unread.length + byteCount;
    const oversized = this.#buffer.length > BUFFER_KEPT_BYTES;
    if (neededBytes * 2 > this.#buffer.length || (oversized && neededBytes <= BUFFER_KEPT_BYTES)) {
      this.#buffer = new Uint8Array(neededBytes * 2);
      this.#buffer.set(unread);
    } else {
      this.#buffer.copyWithin(0, this.#start, this.#end);
    }
    this.#end = unread.length;
    this.#start = 0;
  }
}
