/**
 * Frames over a connected descriptor that Deno does not own, in ordinary asynchronous code: for the
 * few messages of a handshake. Afterwards the descriptor goes to the data thread.
 *
 * What is thrown ends a log line: `Unable to receive handshake header from X: MESSAGE.`
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { ProtocolError } from "../base/errors.ts";
import { waitForFd } from "../ffi/dial.ts";
import { POLL } from "../ffi/poll.ts";
import { closeSocket, recvBytes, sendBytes, shutdownSocket } from "../ffi/socket.ts";
import { type Frame, FrameReader } from "../protocol/frame.ts";

const CHUNK_BYTES = 64 * 1024;

/** Reads and writes whole frames within a deadline. */
export class RawStream {
  readonly fd: number;
  readonly #reader: FrameReader;

  /** @param dataBytesMax The most data that a frame may carry. */
  constructor(fd: number, dataBytesMax: number) {
    this.fd = fd;
    this.#reader = new FrameReader({ dataBytesMax });
  }

  /**
   * Reads one frame. Nothing may follow it: whoever gets the descriptor next would miss that.
   *
   * @throws {ProtocolError} No frame, over a limit, too late, or the end of the connection.
   */
  async read(timeoutMs: number): Promise<Frame> {
    const deadlineMs = performance.now() + timeoutMs;
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const frame = this.#reader.next();
      if (frame !== undefined) return this.#alone(frame);
      const got = recvBytes(this.fd, chunk);
      if (got > 0) this.#reader.push(chunk.subarray(0, got));
      else await this.#waitAfter(got, POLL.in, deadlineMs);
    }
  }

  /**
   * Writes an encoded frame.
   *
   * @throws {ProtocolError} The connection is gone or does not take it in time.
   */
  async write(bytes: Uint8Array<ArrayBuffer>, timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    for (let at = 0; at < bytes.length;) {
      const sent = sendBytes(this.fd, bytes.subarray(at));
      if (sent > 0) at += sent;
      else await this.#waitAfter(sent, POLL.out, deadlineMs);
    }
  }

  /** Ends a read or write that waits; it throws then. */
  interrupt(): void {
    shutdownSocket(this.fd, "both");
  }

  close(): void {
    closeSocket(this.fd);
  }

  #alone(frame: Frame): Frame {
    if (this.#reader.pendingBytes === 0) return frame;
    throw new ProtocolError("Unexpected data behind the answer");
  }

  async #waitAfter(result: number, events: number, deadlineMs: number): Promise<void> {
    if (result === 0) throw new ProtocolError(strerror(ERRNO.ENOTCONN));
    if (result !== -ERRNO.EAGAIN) throw new ProtocolError(strerror(-result));
    const leftMs = deadlineMs - performance.now();
    if (leftMs > 0 && await waitForFd(this.fd, events, leftMs)) return;
    throw new ProtocolError(strerror(ERRNO.ETIMEDOUT));
  }
}
