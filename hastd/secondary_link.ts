/**
 * The secondary's side of an established pair of connections: requests in on connection 1, replies
 * out on connection 2.
 *
 * A request that fails a check is answered with EINVAL once its data has been read off; anything
 * that leaves the stream in doubt ends the link. What the core has taken is still carried out then:
 * in memsync the primary's user may have been told that it is safe.
 *
 * Source: wire.md (requests, replies, time-outs and keep-alive).
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { invariant, ProtocolError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type BufferPool, type IoBuffer, RemoteCommand } from "../core/ports.ts";
import { type ReplyPort, SecondaryRequest } from "../core/secondary.ts";
import {
  encodeReply,
  IO_HEADER_BYTES_MAX,
  type IoHeader,
  IoHeaderDecoder,
  requestFault,
  type RequestLimits,
} from "../protocol/io_message.ts";
import type { PayloadStages } from "../protocol/payload.ts";
import type { OutputOwner } from "./output_queue.ts";
import { PayloadReceiver } from "./payload_receiver.ts";
import { PayloadSender } from "./payload_sender.ts";
import { FlushRank, type Reactor } from "./reactor.ts";
import type { LinkCiphers } from "./session_line.ts";
import { closeReason, StreamSocket } from "./stream_socket.ts";

/** Nothing has come for so long: the primary is gone. It sends keep-alives every 10 s. */
export const SILENCE_MS = 20_000;
/** Most data of requests in memory; with more, the connection is not read. */
export const SECONDARY_BUFFER_BYTES_MAX = 128 * 1024 * 1024;
/** Most requests in memory. */
export const SECONDARY_REQUESTS_MAX = 4096;
/** The primary sends nothing on connection 2. */
const REPLIES_INPUT_BYTES = 4096;
/** Pieces in which the answer to the handshake is queued. */
const ANSWER_PIECE_BYTES = 32 * 1024;
/** How often the silence is looked at. */
const TICKS_PER_SILENCE = 4;

/** Who carries requests out: `Secondary` of core/secondary.ts. */
export interface RequestTaker {
  request(request: SecondaryRequest): void;
  heard(): void;
}

export interface SecondaryLinkOptions {
  /** Connected sockets; they are closed with the link. */
  readonly requestsFd: number;
  readonly repliesFd: number;
  readonly protocolVersion: number;
  readonly limits: RequestLimits;
  readonly stages: PayloadStages;
  readonly reactor: Reactor;
  readonly buffers: BufferPool;
  /** Where the nodes share a secret. */
  readonly ciphers?: LinkCiphers | undefined;
  readonly log: Log;
  /** The link has ended by itself, not by {@link SecondaryLink.close}. */
  readonly ended: () => void;
  /** {@link SILENCE_MS}, {@link SECONDARY_BUFFER_BYTES_MAX}; smaller in tests. */
  readonly silenceMs?: number;
  readonly bufferBytesMax?: number;
}

/** A request with its way back to the link that made it. */
class LinkRequest extends SecondaryRequest implements OutputOwner {
  readonly #link: SecondaryLink;
  constructor(link: SecondaryLink) {
    super();
    this.#link = link;
  }

  /** Its data has been sent, or never will be. */
  outputDone(): void {
    this.#link.release(this);
  }
}

/** What to do when the data behind a header has been received. */
type AfterData = "carry out" | "answer invalid" | "forget";

/** See the module. */
export class SecondaryLink implements ReplyPort {
  readonly #options: SecondaryLinkOptions;
  readonly #requests: StreamSocket;
  readonly #replies: StreamSocket;
  readonly #decoder = new IoHeaderDecoder();
  readonly #receiver: PayloadReceiver;
  readonly #sender: PayloadSender;
  readonly #free: LinkRequest[] = [];
  #taker: RequestTaker | undefined = undefined;
  #open = true;
  #finishing = false;
  /** The request whose data is being received. */
  #receiving: LinkRequest | undefined = undefined;
  #afterData: AfterData = "forget";
  #heldBytes = 0;
  #requestCount = 0;
  /** Waits for requests to be over, or for replies to leave. */
  #starved = false;
  #heardMs: number;
  #heardBytes = 0;
  #timer = 0;

  /** Nothing is read before {@link serve}. */
  constructor(options: SecondaryLinkOptions) {
    const { reactor, buffers, requestsFd, repliesFd } = options;
    this.#options = options;
    const rank = FlushRank.peer;
    this.#requests = new StreamSocket(requestsFd, {
      reactor,
      buffers,
      rank,
      cipher: options.ciphers?.requests,
      handler: {
        received: () => this.#guarded(this.#takeRequests),
        closed: (errno) => this.#closed("Unable to receive request header", errno),
        drained: () => {},
      },
    });
    this.#requests.pauseReading();
    this.#replies = new StreamSocket(repliesFd, {
      reactor,
      buffers,
      rank,
      inputBytes: REPLIES_INPUT_BYTES,
      cipher: options.ciphers?.replies,
      handler: {
        received: () => this.#lose("Unexpected data on the connection for replies."),
        closed: (errno) => this.#closed("Unable to send reply", errno),
        drained: () => this.#feed(),
      },
    });
    this.#receiver = new PayloadReceiver(
      this.#requests,
      buffers,
      () => this.#guarded(this.#dataThere),
    );
    this.#sender = new PayloadSender(buffers, options.stages);
    this.#heardMs = reactor.nowMs;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Queues the answer to the second step of the handshake. */
  answer(frame: Uint8Array): void {
    for (let at = 0; at < frame.length; at += ANSWER_PIECE_BYTES) {
      this.#requests.write(frame.subarray(at, at + ANSWER_PIECE_BYTES));
    }
  }

  /** Sends what is queued, then ends; `ended` is called. */
  finish(): void {
    this.#finishing = true;
    this.#requests.finish();
  }

  /** Begins to take requests. */
  serve(taker: RequestTaker): void {
    this.#taker = taker;
    this.#heardMs = this.#options.reactor.nowMs;
    this.#requests.resumeReading();
    this.#armTimer();
  }

  /** Ends both connections; what the core has is still carried out, and answered to nobody. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.reactor.clearTimer(this.#timer);
    this.#receiver.close();
    this.#requests.close();
    this.#replies.close();
    if (this.#receiving !== undefined) this.release(this.#receiving);
    this.#receiving = undefined;
  }

  // ---- requests ----

  readonly #takeRequests = (): void => {
    while (this.#open && this.#takeRequest());
  };

  /** Returns whether there may be another. */
  #takeRequest(): boolean {
    if (this.#requestCount >= SECONDARY_REQUESTS_MAX || this.#replies.congested) {
      return this.#starve();
    }
    const { input, start, end } = this.#requests;
    const headerBytes = this.#decoder.decode(input, start, end);
    if (headerBytes === 0) return false;
    const header = this.#decoder.header;
    if (header.command === RemoteCommand.keepalive) {
      this.#requests.consume(headerBytes);
      this.#taker?.heard();
      return this.#discard(header, "forget");
    }
    const fault = requestFault(header, this.#options.limits);
    const neededBytes = fault === undefined ? bufferBytesOf(header) : 0;
    if (this.#isFull(neededBytes)) return this.#starve();
    this.#requests.consume(headerBytes);
    this.#receiving = this.#requestOf(header, neededBytes);
    if (fault === undefined) return this.#takeData(header, this.#receiving);
    this.#options.log.error(fault);
    return this.#discard(header, "answer invalid");
  }

  #isFull(neededBytes: number): boolean {
    const maxBytes = this.#options.bufferBytesMax ?? SECONDARY_BUFFER_BYTES_MAX;
    return this.#heldBytes > 0 && this.#heldBytes + neededBytes > maxBytes;
  }

  #requestOf(header: IoHeader, bufferBytes: number): LinkRequest {
    const request = this.#free.pop() ?? new LinkRequest(this);
    request.command = header.command;
    request.seqLow = header.seqLow;
    request.seqHigh = header.seqHigh;
    request.dataOffsetBytes = Math.max(header.offsetBytes, 0);
    request.lengthBytes = Math.max(header.lengthBytes, 0);
    request.memsync = header.memsync && this.#options.protocolVersion >= 2;
    request.zeros = header.command === RemoteCommand.write && header.compression === "hole";
    this.#requestCount++;
    if (bufferBytes > 0) this.#giveBuffer(request, this.#options.buffers.take(bufferBytes));
    return request;
  }

  #giveBuffer(request: LinkRequest, buffer: IoBuffer): void {
    request.buffer = buffer;
    this.#heldBytes += buffer.bytes.length;
  }

  #takeData(header: IoHeader, request: LinkRequest): boolean {
    if (request.command !== RemoteCommand.write) return this.#discard(header, "carry out");
    this.#afterData = "carry out";
    if (!this.#receiver.begin(header, request)) return false;
    this.#dataThere();
    return true;
  }

  /** Reads off data that is of no use, if there is any. */
  #discard(header: IoHeader, afterwards: AfterData): boolean {
    this.#afterData = afterwards;
    if (header.sizeBytes > 0 && !this.#receiver.discard(header.sizeBytes)) return false;
    this.#proceed();
    return true;
  }

  readonly #dataThere = (): void => {
    const request = this.#receiving;
    const received = request?.command === RemoteCommand.write && this.#afterData === "carry out";
    if (received) this.#receiver.finish();
    this.#proceed();
  };

  #proceed(): void {
    const request = this.#receiving;
    this.#receiving = undefined;
    if (request === undefined) return;
    if (this.#afterData === "answer invalid") this.reply(request, false, ERRNO.EINVAL);
    else this.#taker?.request(request);
  }

  /** Stops reading until {@link #feed}. Returns false: there is no other request now. */
  #starve(): boolean {
    this.#starved = true;
    this.#requests.pauseReading();
    return false;
  }

  #feed(): void {
    if (!this.#starved || !this.#open) return;
    this.#starved = false;
    this.#requests.resumeReading();
  }

  // ---- replies ----

  reply(request: SecondaryRequest, received: boolean, errno: number): void {
    invariant(request instanceof LinkRequest, "a link answers its own requests");
    if (!this.#open) {
      if (!received) this.release(request);
      return;
    }
    const { buffer, command } = request;
    const withData = command === RemoteCommand.read && errno === 0 && buffer !== undefined;
    if (withData) this.#sender.prepare(buffer, request.bufferOffsetBytes, request.lengthBytes);
    const bytes = this.#replies.reserve(IO_HEADER_BYTES_MAX);
    const headerBytes = encodeReply(
      bytes,
      this.#replies.reservedAt,
      this.#options.protocolVersion,
      request,
      received,
      errno,
      withData ? this.#sender.payload : undefined,
    );
    this.#replies.commit(headerBytes);
    if (withData && !this.#sender.queue(this.#replies, request)) return;
    if (!received) this.release(request);
  }

  /** A request and its buffer are free. */
  release(request: LinkRequest): void {
    const { buffer } = request;
    if (buffer !== undefined) {
      this.#heldBytes -= buffer.bytes.length;
      this.#options.buffers.give(buffer);
    }
    request.buffer = undefined;
    this.#requestCount--;
    this.#free.push(request);
    this.#feed();
  }

  // ---- the end ----

  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message);
    }
  }

  #closed(what: string, errno: number): void {
    this.#lose(`${what}: ${closeReason(errno)}.`);
  }

  #lose(reason: string): void {
    if (!this.#open) return;
    this.close();
    if (!this.#finishing) this.#options.log.error(reason);
    this.#options.ended();
  }

  // ---- time ----

  get #silenceMs(): number {
    return this.#options.silenceMs ?? SILENCE_MS;
  }

  #armTimer(): void {
    const delayMs = this.#silenceMs / TICKS_PER_SILENCE;
    this.#timer = this.#options.reactor.setTimer(delayMs, () => this.#tick());
  }

  #tick(): void {
    const { receivedBytes } = this.#requests;
    // While we do not listen ourselves there is nothing to be heard.
    if (receivedBytes !== this.#heardBytes || this.#starved) {
      this.#heardBytes = receivedBytes;
      this.#heardMs = this.#options.reactor.nowMs;
    } else if (this.#options.reactor.nowMs - this.#heardMs >= this.#silenceMs) {
      this.#lose(`Unable to receive request header: ${strerror(ERRNO.ETIMEDOUT)}.`);
      return;
    }
    this.#armTimer();
  }
}

/** Memory that a valid request needs. */
function bufferBytesOf(header: IoHeader): number {
  if (header.command === RemoteCommand.read) return header.lengthBytes;
  if (header.command !== RemoteCommand.write) return 0;
  return header.compression === "hole" ? 0 : header.lengthBytes;
}
