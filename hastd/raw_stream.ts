/**
 * Frames over a connected descriptor that Deno does not own, in ordinary asynchronous code: for the
 * few messages of a handshake, the last of which may come in records. Afterwards the descriptor goes
 * to the data thread.
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
import type { RecordOpener } from "../protocol/secure_record.ts";

const CHUNK_BYTES = 64 * 1024;

/** Reads and writes whole frames within a deadline. */
export class RawStream {
  readonly fd: number;
  readonly #reader: FrameReader;
  #opener: RecordOpener | undefined = undefined;
  /** What has come of a record that is not whole yet. */
  #record = new Uint8Array(0);

  /** @param dataBytesMax The most data that a frame may carry. */
  constructor(fd: number, dataBytesMax: number) {
    this.fd = fd;
    this.#reader = new FrameReader({ dataBytesMax });
  }

  /** From now on, what is read comes in records. */
  expectRecords(opener: RecordOpener): void {
    this.#opener = opener;
  }

  /**
   * Reads one frame. Nothing may follow it: whoever gets the descriptor next would miss that.
   *
   * @throws {ProtocolError} No frame, over a limit, too late, the end of the connection, or a record
   * that does not open.
   */
  async read(timeoutMs: number): Promise<Frame> {
    const deadlineMs = performance.now() + timeoutMs;
    const chunk = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const frame = this.#reader.next();
      if (frame !== undefined) return this.#alone(frame);
      const got = recvBytes(this.fd, chunk);
      if (got > 0) this.#push(chunk.subarray(0, got));
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

  #push(bytes: Uint8Array): void {
    const opener = this.#opener;
    if (opener === undefined) return this.#reader.push(bytes);
    const records = new Uint8Array(this.#record.length + bytes.length);
    records.set(this.#record);
    records.set(bytes, this.#record.length);
    let at = 0;
    for (;;) {
      const recordBytes = opener.recordBytes(records, at, records.length);
      if (recordBytes === 0 || at + recordBytes > records.length) break;
      this.#reader.push(opener.open(records.subarray(at, at + recordBytes)));
      at += recordBytes;
    }
    this.#record = records.slice(at);
  }

  #alone(frame: Frame): Frame {
    if (this.#reader.pendingBytes === 0 && this.#record.length === 0) return frame;
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
