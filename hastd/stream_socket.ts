/**
 * A connected stream socket (TCP or Unix) in the loop: input is collected in a buffer or received
 * straight into the memory of a request; output is queued and sent in batches.
 *
 * How to use it:
 * - `handler.received()` is called when there is new input, at `start`..`end` of `input`; it takes
 *   what it can with {@link StreamSocket.consume} and returns. What is left stays until more comes.
 *   The input buffer must be able to hold the longest header.
 * - A large body is received with {@link StreamSocket.readInto}, which passes the input buffer by.
 * - Output: {@link StreamSocket.write}, or {@link StreamSocket.reserve} and
 *   {@link StreamSocket.commit} to encode in place, and {@link StreamSocket.writeBuffer} for data.
 *   None of them sends at once, and none fails: the loop sends at the end of the turn, and a
 *   broken connection is told by `handler.closed`.
 * - Whoever has more than `congested` allows should stop taking input with
 *   {@link StreamSocket.pauseReading} until `handler.drained`.
 *
 * Nothing is called back from inside a call of a method, but for `outputDone` from `close`.
 *
 * With a cipher, the stream is carried by records (protocol/secure_record.ts); users do not notice.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import { POLL } from "../ffi/poll.ts";
import { closeSocket, recv, shutdownSocket } from "../ffi/socket.ts";
import type { RecordOpener, RecordSealer } from "../protocol/secure_record.ts";
import { type OutputOwner, OutputQueue, type SocketOutput } from "./output_queue.ts";
import type { Flushable, FlushRank, Pollable, Reactor, Task } from "./reactor.ts";
import { RECORD_ERRNO, SealedInput } from "./sealed_input.ts";
import { SealedOutput } from "./sealed_output.ts";

/** Size of the input buffer unless another is asked for. */
export const INPUT_BYTES = 256 * 1024;
/** Received from one socket in one turn, about; then it is the others' turn. */
export const TURN_BYTES_MAX = 2 * 1024 * 1024;
/** Data up to this size is copied into the queue: cheaper than one more piece in sendmsg(2). */
export const COPY_BYTES_MAX = 16 * 1024;
/** Output beyond which a socket is {@link StreamSocket.congested}. */
export const OUTPUT_HIGH_BYTES = 4 * 1024 * 1024;
/**
 * Bytes received into the input buffer while bodies are large: the header, and as little as
 * possible of the body, which would have to be copied.
 */
const SMALL_READ_BYTES = 4096;
/** Bodies from this size on are large. */
const LARGE_BODY_BYTES = 32 * 1024;

export interface StreamHandler {
  /** There is new input. */
  received(): void;
  /**
   * The connection is over and the socket closed; nothing is called after this. Not called after
   * {@link StreamSocket.close}.
   *
   * @param errno 0 where the other side has ended the stream; `RECORD_ERRNO` where something came
   * that the other side has not sealed.
   */
  closed(errno: number): void;
  /** Output was congested and no longer is (half of the limit is left). */
  drained(): void;
}

/** Why a stream is over, for people; `errno` as {@link StreamHandler.closed} has it. */
export function closeReason(errno: number): string {
  if (errno === RECORD_ERRNO) {
    return "Authentication failed: a record was changed, repeated, left out or forged";
  }
  return strerror(errno === 0 ? ERRNO.ENOTCONN : errno);
}

/** What a stream is sealed and opened with. */
export interface StreamCipher {
  readonly sealer: RecordSealer;
  readonly opener: RecordOpener;
}

export interface StreamSocketOptions {
  readonly reactor: Reactor;
  /** Where the input buffer and the chunks of the output come from. */
  readonly buffers: BufferPool;
  readonly rank: FlushRank;
  readonly handler: StreamHandler;
  readonly inputBytes?: number;
  readonly outputHighBytes?: number;
  /** Without one, bytes are sent as they are. */
  readonly cipher?: StreamCipher | undefined;
}

/** See the module. */
export class StreamSocket implements Pollable, Flushable, Task {
  readonly flushRank: FlushRank;
  readonly fd: number;
  /** The whole input buffer; what is unread lies at `start`..`end`. */
  readonly input: Uint8Array<ArrayBuffer>;
  /** `input` as numbers of any size. */
  readonly inputView: DataView<ArrayBuffer>;
  readonly #reactor: Reactor;
  readonly #buffers: BufferPool;
  readonly #handler: StreamHandler;
  readonly #inputBuffer: IoBuffer;
  readonly #inputBytes: number;
  readonly #outputHighBytes: number;
  readonly #output: SocketOutput;
  /** Where input comes from; undefined: straight from the kernel. */
  readonly #sealedInput: SealedInput | undefined;
  #start = 0;
  #end = 0;
  #readBytes: number;
  #body: IoBuffer | undefined = undefined;
  #bodyAt = 0;
  #bodyLeft = 0;
  #bodyDone: () => void = () => {};
  #events: number = POLL.in;
  #paused = false;
  #flushQueued = false;
  #taskQueued = false;
  #congested = false;
  #ending = false;
  #open = true;
  #receivedBytes = 0;

  /**
   * Takes over a connected socket, blocking or not; it is closed with this object.
   *
   * @throws {HastError} There is no memory for the input buffer; `fd` then stays the caller's.
   */
  constructor(fd: number, options: StreamSocketOptions) {
    this.fd = fd;
    this.flushRank = options.rank;
    this.#reactor = options.reactor;
    this.#buffers = options.buffers;
    this.#handler = options.handler;
    this.#inputBytes = options.inputBytes ?? INPUT_BYTES;
    this.#outputHighBytes = options.outputHighBytes ?? OUTPUT_HIGH_BYTES;
    this.#inputBuffer = options.buffers.take(this.#inputBytes);
    const { buffer, byteOffset } = this.#inputBuffer.bytes;
    this.input = new Uint8Array(buffer, byteOffset, this.#inputBytes);
    this.inputView = new DataView(buffer, byteOffset, this.#inputBytes);
    this.#readBytes = this.#inputBytes;
    const { cipher } = options;
    this.#output = cipher === undefined
      ? new OutputQueue(options.buffers)
      : new SealedOutput(cipher.sealer, options.buffers);
    this.#sealedInput = cipher === undefined
      ? undefined
      : new SealedInput(cipher.opener, options.buffers, this.#inputBytes);
    this.#reactor.register(fd, this.#events, this);
  }

  get open(): boolean {
    return this.#open;
  }

  // ---- input ----

  /** Where the unread input begins. */
  get start(): number {
    return this.#start;
  }

  /** Where it ends. */
  get end(): number {
    return this.#end;
  }

  /** Bytes received so far, for time-outs. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Bytes that the kernel has taken so far, for time-outs. */
  get sentBytes(): number {
    return this.#output.sentBytes;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** Takes the first `byteCount` bytes of the unread input away. */
  consume(byteCount: number): void {
    invariant(byteCount <= this.#end - this.#start, "no more is consumed than there is");
    this.#start += byteCount;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }

  /**
   * Receives the next `byteCount` bytes into `buffer`: first what is in the input, then straight
   * from the kernel. Until they are there, `received` is not called.
   *
   * @returns Whether they are there already; only if not, `done` is called, from the loop. After
   * `done`, `received` is called if there is more.
   */
  readInto(buffer: IoBuffer, offsetBytes: number, byteCount: number, done: () => void): boolean {
    invariant(this.#body === undefined, "one body is received at a time");
    const thereBytes = Math.min(byteCount, this.#end - this.#start);
    if (thereBytes > 0) {
      buffer.bytes.set(this.input.subarray(this.#start, this.#start + thereBytes), offsetBytes);
      this.consume(thereBytes);
    }
    this.#readBytes = byteCount >= LARGE_BODY_BYTES ? SMALL_READ_BYTES : this.#inputBytes;
    if (thereBytes === byteCount) return true;
    this.#body = buffer;
    this.#bodyAt = offsetBytes + thereBytes;
    this.#bodyLeft = byteCount - thereBytes;
    this.#bodyDone = done;
    return false;
  }

  /** Stops receiving: neither `received` nor the `done` of a body is called until resumed. */
  pauseReading(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#setEvents(this.#events & ~POLL.in);
  }

  /** Receives again. Input that is there already is told in the next turn. */
  resumeReading(): void {
    if (!this.#paused || !this.#open) return;
    this.#paused = false;
    this.#setEvents(this.#events | POLL.in);
    if (this.#start < this.#end || this.#isInputPending) this.#queueTask();
  }

  /** Tells of input that was left unread when reading was resumed, or when the turn was over. */
  run(): void {
    this.#taskQueued = false;
    if (this.#receivable && this.#start < this.#end) this.#handler.received();
    if (this.#open && !this.#paused && this.#isInputPending) this.#receive();
  }

  #queueTask(): void {
    if (this.#taskQueued) return;
    this.#taskQueued = true;
    this.#reactor.queueTask(this);
  }

  /** There is input that poll(2) knows nothing of. */
  get #isInputPending(): boolean {
    return this.#sealedInput?.pending ?? false;
  }

  ready(revents: number): void {
    if ((revents & POLL.out) !== 0) this.#queueFlush();
    if (!this.#paused) {
      if ((revents & ~POLL.out) !== 0) this.#receive();
    } else if ((revents & (POLL.error | POLL.hangup | POLL.invalid)) !== 0) {
      // Both directions are over. Waiting for resumeReading() would mean being told all the time.
      this.#lose(ERRNO.ECONNRESET);
    }
  }

  get #receivable(): boolean {
    return this.#open && !this.#paused && this.#body === undefined;
  }

  #receive(): void {
    // What was left unread comes first: it may leave no room.
    if (this.#taskQueued) this.run();
    let budgetBytes = TURN_BYTES_MAX;
    while (budgetBytes > 0 && this.#open && !this.#paused) {
      const askedBytes = this.#body === undefined ? this.#inputRoom() : this.#bodyLeft;
      const gotBytes = this.#body === undefined
        ? this.#receiveInput(askedBytes)
        : this.#receiveBody(this.#body, askedBytes);
      // Less than there was room for: that was all. poll(2) will tell if it was not.
      if (gotBytes < askedBytes && !(gotBytes > 0 && this.#isInputPending)) return;
      budgetBytes -= gotBytes;
    }
    if (this.#open && !this.#paused && this.#isInputPending) this.#queueTask();
  }

  #receiveInto(buffer: IoBuffer, offsetBytes: number, byteCount: number): number {
    if (this.#sealedInput !== undefined) {
      return this.#sealedInput.recv(this.fd, buffer, offsetBytes, byteCount);
    }
    return recv(this.fd, buffer.address + BigInt(offsetBytes), byteCount);
  }

  #receiveInput(roomBytes: number): number {
    const gotBytes = this.#receiveInto(this.#inputBuffer, this.#end, roomBytes);
    if (gotBytes <= 0) return this.#noneReceived(gotBytes);
    this.#receivedBytes += gotBytes;
    this.#end += gotBytes;
    // Bodies are not as large as they were, or the next header would not fill the room.
    if (gotBytes === roomBytes) this.#readBytes = Math.min(this.#readBytes * 2, this.#inputBytes);
    this.#handler.received();
    return gotBytes;
  }

  #receiveBody(body: IoBuffer, leftBytes: number): number {
    const gotBytes = this.#receiveInto(body, this.#bodyAt, leftBytes);
    if (gotBytes <= 0) return this.#noneReceived(gotBytes);
    this.#receivedBytes += gotBytes;
    this.#bodyAt += gotBytes;
    this.#bodyLeft -= gotBytes;
    if (this.#bodyLeft > 0) return gotBytes;
    this.#body = undefined;
    this.#bodyDone();
    return gotBytes;
  }

  /** Returns -1, which ends the round. */
  #noneReceived(result: number): number {
    if (result === 0) this.#lose(0);
    else if (result !== -ERRNO.EAGAIN) this.#lose(-result);
    return -1;
  }

  /** Room behind the unread input, which is moved to the front if there is little. */
  #inputRoom(): number {
    if (this.#start > 0 && this.#inputBytes - this.#end < SMALL_READ_BYTES) {
      this.input.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const roomBytes = this.#inputBytes - this.#end;
    invariant(roomBytes > 0, "the input buffer holds the longest header");
    return Math.min(roomBytes, this.#readBytes);
  }

  // ---- output ----

  /** Bytes that the kernel has not taken yet. */
  get queuedBytes(): number {
    return this.#output.queuedBytes;
  }

  /** More is queued than should be; `drained` will be called. */
  get congested(): boolean {
    return this.#congested;
  }

  /**
   * Room to encode up to 64 KiB into: at {@link reservedAt} of the result. Valid until the next
   * call of any output method; nothing is queued before {@link commit}.
   */
  reserve(byteCount: number): Uint8Array<ArrayBuffer> {
    return this.#output.reserve(byteCount);
  }

  /** Where the room of the last {@link reserve} begins. */
  get reservedAt(): number {
    return this.#output.reservedAt;
  }

  /** Queues the first `byteCount` bytes of what was reserved. */
  commit(byteCount: number): void {
    if (!this.#open) return;
    this.#output.commit(byteCount);
    this.#queued();
  }

  /** Queues a copy of at most 64 KiB. */
  write(bytes: Uint8Array): void {
    if (!this.#open) return;
    this.#output.reserve(bytes.length).set(bytes, this.#output.reservedAt);
    this.commit(bytes.length);
  }

  /**
   * Queues `byteCount` bytes of `buffer`: small ones are copied, large ones sent from where they
   * are.
   *
   * @param owner Told when the memory is free again, but only where the result is false.
   * @returns True if they were copied (or the socket is closed): the memory is free at once.
   */
  writeBuffer(
    buffer: IoBuffer,
    offsetBytes: number,
    byteCount: number,
    owner?: OutputOwner,
  ): boolean {
    if (!this.#open) return true;
    if (byteCount <= COPY_BYTES_MAX) {
      this.write(buffer.bytes.subarray(offsetBytes, offsetBytes + byteCount));
      return true;
    }
    this.#output.reference(buffer, offsetBytes, byteCount, owner);
    this.#queued();
    return false;
  }

  flush(): void {
    this.#flushQueued = false;
    if (!this.#open) return;
    const errno = this.#output.send(this.fd);
    if (!this.#open) return; // Closed by an owner that was told.
    if (errno === ERRNO.EAGAIN) this.#setEvents(this.#events | POLL.out);
    else if (errno !== 0) return this.#lose(errno);
    else this.#setEvents(this.#events & ~POLL.out);
    if (this.#ending && errno === 0) return this.#lose(0);
    if (!this.#congested || this.#output.queuedBytes > this.#outputHighBytes / 2) return;
    this.#congested = false;
    this.#handler.drained();
  }

  /** Takes no more input, sends what is queued, then closes; `closed(0)` is called. */
  finish(): void {
    if (!this.#open || this.#ending) return;
    this.#ending = true;
    this.pauseReading();
    this.#queueFlush();
  }

  /** Closes at once; what is queued is forgotten and its owners are told. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#reactor.unregister(this.fd);
    // The other side is to see the end even if another process holds the socket too.
    shutdownSocket(this.fd, "both");
    closeSocket(this.fd);
    this.#body = undefined;
    this.#start = this.#end = 0;
    this.#buffers.give(this.#inputBuffer);
    this.#sealedInput?.close();
    this.#output.clear();
  }

  #lose(errno: number): void {
    this.close();
    this.#handler.closed(errno);
  }

  #queued(): void {
    if (this.#output.queuedBytes > this.#outputHighBytes) this.#congested = true;
    // While the kernel has no room, POLLOUT will say when.
    if ((this.#events & POLL.out) === 0) this.#queueFlush();
  }

  #queueFlush(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    this.#reactor.queueFlush(this);
  }

  #setEvents(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    this.#reactor.modify(this.fd, events);
  }
}
