/**
 * Frames over a socket of Deno, one at a time and each within a deadline.
 *
 * Exactly the bytes of a frame are read, never one more: the socket may be handed to another
 * process afterwards. What is thrown ends a log line: `Unable to receive header from X: MESSAGE.`
 *
 * Source: wire.md, Frame.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { ProtocolError } from "../base/errors.ts";
import { systemErrorText } from "../base/system_error.ts";
import {
  decodeFramePrefix,
  type Frame,
  FRAME_PREFIX_BYTES,
  FrameReader,
  PROTOCOL_VERSION,
} from "../protocol/frame.ts";
import { timedOut, within } from "./deadline.ts";

export type StreamConn = Deno.TcpConn | Deno.UnixConn;

/** ERPCMISMATCH of FreeBSD: what the original says to a version byte above its own. */
const VERSION_MISMATCH = "RPC version wrong";

/** Reads and writes whole frames that carry no data. */
export class FrameStream {
  readonly #conn: StreamConn;
  readonly #headerBytesMax: number;

  /** @param headerBytesMax The largest name-value block that is taken. */
  constructor(conn: StreamConn, headerBytesMax: number) {
    this.#conn = conn;
    this.#headerBytesMax = headerBytesMax;
  }

  /**
   * Reads one frame. After an error the stream is out of step: close the connection.
   *
   * @param timeoutMs For the frame as a whole, however slowly its bytes drip in.
   * @throws {ProtocolError} No frame, over the limit, too late, or the end of the connection.
   */
  async read(timeoutMs: number): Promise<Frame> {
    const deadlineMs = performance.now() + timeoutMs;
    const reader = new FrameReader({ headerBytesMax: this.#headerBytesMax, dataBytesMax: 0 });
    const prefix = await this.#readExactly(FRAME_PREFIX_BYTES, deadlineMs);
    if ((prefix[0] ?? 0) > PROTOCOL_VERSION) throw new ProtocolError(VERSION_MISMATCH);
    const { headerBytes } = decodeFramePrefix(prefix, this.#headerBytesMax);
    reader.push(prefix);
    reader.push(await this.#readExactly(headerBytes, deadlineMs));
    const frame = reader.next();
    if (frame === undefined) throw new ProtocolError("Cannot take a frame with data here");
    return frame;
  }

  /**
   * Writes an encoded frame.
   *
   * @throws {ProtocolError} The connection is gone or does not take it in time.
   */
  async write(bytes: Uint8Array, timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    let left = bytes;
    while (left.length > 0) {
      left = left.subarray(await this.#inTime(this.#conn.write(left), deadlineMs));
    }
  }

  async #readExactly(byteCount: number, deadlineMs: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(byteCount);
    let filled = 0;
    while (filled < byteCount) {
      const count = await this.#inTime(this.#conn.read(bytes.subarray(filled)), deadlineMs);
      if (count === null) throw new ProtocolError(strerror(ERRNO.ENOTCONN));
      filled += count;
    }
    return bytes;
  }

  async #inTime<T>(operation: Promise<T>, deadlineMs: number): Promise<T> {
    let result: T | typeof timedOut;
    try {
      result = await within(operation, deadlineMs - performance.now());
    } catch (error) {
      throw new ProtocolError(systemErrorText(error));
    }
    if (result === timedOut) throw new ProtocolError(strerror(ERRNO.ETIMEDOUT));
    return result;
  }
}
