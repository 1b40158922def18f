/**
 * The primary's side of an established pair of connections: requests out on connection 1, replies
 * in on connection 2.
 *
 * Whatever goes wrong, on either connection or in a reply, ends both: the core is told once, and
 * everything that was asked is then synchronised after the next connect.
 *
 * Source: wire.md (requests, replies, time-outs and keep-alive).
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { ProtocolError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import {
  type BufferPool,
  type PeerLink,
  RemoteCommand,
  type RemoteRequest,
} from "../core/ports.ts";
import {
  encodeKeepalive,
  encodeRequest,
  IO_HEADER_BYTES_MAX,
  IoHeaderDecoder,
} from "../protocol/io_message.ts";
import type { PayloadStages } from "../protocol/payload.ts";
import { PayloadReceiver } from "./payload_receiver.ts";
import { PayloadSender } from "./payload_sender.ts";
import { FlushRank, type Reactor } from "./reactor.ts";
import type { LinkCiphers } from "./session_line.ts";
import { closeReason, StreamSocket } from "./stream_socket.ts";

/** After so long without a request, the secondary is told that we are alive. */
export const KEEPALIVE_MS = 10_000;
/** The secondary sends nothing on connection 1: what it might is not worth a larger buffer. */
const REQUESTS_INPUT_BYTES = 4096;
/** How often the time-out is looked at. */
const TICKS_PER_TIMEOUT = 4;

/** Who the link answers to: `Primary` of core/primary.ts. */
export interface PeerLinkOwner {
  remoteReply(link: PeerLink, seq: number, received: boolean, errno: number): boolean;
  readTarget(link: PeerLink, seq: number): RemoteRequest | undefined;
  linkLost(link: PeerLink): void;
}

export interface PeerLinkOptions {
  /** Connected sockets; they are closed with the link. */
  readonly requestsFd: number;
  readonly repliesFd: number;
  readonly requestBytesMax: number;
  readonly protocolVersion: number;
  readonly takesClaims: boolean;
  readonly stages: PayloadStages;
  readonly timeoutMs: number;
  readonly reactor: Reactor;
  readonly buffers: BufferPool;
  /** Where the nodes share a secret. */
  readonly ciphers?: LinkCiphers | undefined;
  readonly log: Log;
  readonly owner: PeerLinkOwner;
  /** The link is closed, by whomever; called once. */
  readonly closed?: () => void;
  /** {@link KEEPALIVE_MS}, but in tests. */
  readonly keepaliveMs?: number;
}

/** See the module. */
export class SocketPeerLink implements PeerLink {
  readonly requestBytesMax: number;
  readonly protocolVersion: number;
  readonly takesClaims: boolean;
  readonly #options: PeerLinkOptions;
  readonly #owner: PeerLinkOwner;
  readonly #requests: StreamSocket;
  readonly #replies: StreamSocket;
  readonly #sender: PayloadSender;
  readonly #receiver: PayloadReceiver;
  readonly #decoder = new IoHeaderDecoder();
  #timeoutMs: number;
  #open = true;
  /** Requests without a final reply. */
  #pendingCount = 0;
  /** When something last showed that the other side is there, or something was first asked of it. */
  #progressMs: number;
  #lastSentMs: number;
  /** As of the last tick. */
  #tickReceivedBytes = 0;
  #tickSentBytes = 0;
  #timer = 0;
  /** The READ whose data is being received. */
  #readSeq = 0;

  constructor(options: PeerLinkOptions) {
    const { reactor, buffers, requestsFd, repliesFd } = options;
    this.#options = options;
    this.#owner = options.owner;
    this.requestBytesMax = options.requestBytesMax;
    this.protocolVersion = options.protocolVersion;
    this.takesClaims = options.takesClaims;
    this.#timeoutMs = options.timeoutMs;
    this.#progressMs = this.#lastSentMs = reactor.nowMs;
    const rank = FlushRank.peer;
    const drained = () => {};
    this.#requests = new StreamSocket(requestsFd, {
      reactor,
      buffers,
      rank,
      inputBytes: REQUESTS_INPUT_BYTES,
      cipher: options.ciphers?.requests,
      handler: {
        received: () => this.#lose("Unexpected data on the connection for requests."),
        closed: (errno) => this.#closed("Unable to send request", errno),
        drained,
      },
    });
    this.#replies = new StreamSocket(repliesFd, {
      reactor,
      buffers,
      rank,
      cipher: options.ciphers?.replies,
      handler: {
        received: () => this.#received(),
        closed: (errno) => this.#closed("Unable to receive reply header", errno),
        drained,
      },
    });
    this.#sender = new PayloadSender(buffers, options.stages);
    this.#receiver = new PayloadReceiver(this.#replies, buffers, () => this.#dataThere());
    this.#armTimer();
  }

  get open(): boolean {
    return this.#open;
  }

  get queuedBytes(): number {
    return this.#requests.queuedBytes;
  }

  /** Requests without a final reply. */
  get pendingCount(): number {
    return this.#pendingCount;
  }

  /** Applies to what is sent from now on. */
  reconfigure(stages: PayloadStages, timeoutMs: number): void {
    this.#sender.stages = stages;
    this.#timeoutMs = timeoutMs;
  }

  send(request: RemoteRequest): void {
    if (!this.#open) return;
    if (this.#pendingCount++ === 0) this.#progressMs = this.#options.reactor.nowMs;
    this.#lastSentMs = this.#options.reactor.nowMs;
    const { command, buffer, bufferOffsetBytes, lengthBytes } = request;
    const sender = this.#sender;
    if (command !== RemoteCommand.write) {
      this.#sendHeader(request, false);
      return;
    }
    if (request.zeros || buffer === undefined) sender.prepareZeros(lengthBytes);
    else sender.prepare(buffer, bufferOffsetBytes, lengthBytes);
    this.#sendHeader(request, true);
    sender.queue(this.#requests);
  }

  #sendHeader(request: RemoteRequest, withData: boolean): void {
    const bytes = this.#requests.reserve(IO_HEADER_BYTES_MAX);
    const payload = withData ? this.#sender.payload : undefined;
    const at = this.#requests.reservedAt;
    this.#requests.commit(encodeRequest(bytes, at, this.protocolVersion, request, payload));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#options.reactor.clearTimer(this.#timer);
    this.#receiver.close();
    this.#requests.close();
    this.#replies.close();
    this.#options.closed?.();
  }

  // ---- replies ----

  #received(): void {
    this.#guarded(this.#takeReplies);
  }

  readonly #takeReplies = (): void => {
    while (this.#open && this.#takeReply());
  };

  /** Returns whether there may be another. */
  #takeReply(): boolean {
    const { input, start, end } = this.#replies;
    const headerBytes = this.#decoder.decode(input, start, end);
    if (headerBytes === 0) return false;
    this.#replies.consume(headerBytes);
    const header = this.#decoder.header;
    const seq = header.seq;
    if (seq === 0) throw new ProtocolError("Header contains no 'seq' field.");
    const target = this.#owner.readTarget(this, seq);
    if (header.sizeBytes === 0) {
      const errno = header.errno < 0 ? ERRNO.EIO : header.errno;
      if (target !== undefined && errno === 0 && !header.received) {
        throw new ProtocolError(`Reply to a read (seq ${seq}) without data.`);
      }
      this.#reply(seq, header.received, errno);
      return true;
    }
    if (target === undefined || header.errno !== 0) {
      throw new ProtocolError(`Found no read matching the data received (seq ${seq}).`);
    }
    this.#readSeq = seq;
    if (!this.#receiver.begin(header, target)) return false;
    this.#finishRead();
    return true;
  }

  #dataThere(): void {
    this.#guarded(this.#finishRead);
  }

  readonly #finishRead = (): void => {
    this.#receiver.finish();
    this.#reply(this.#readSeq, false, 0);
  };

  #reply(seq: number, received: boolean, errno: number): void {
    this.#progressMs = this.#options.reactor.nowMs;
    const final = !received || errno !== 0;
    // Before the core is told: it may ask for more at once.
    if (final) this.#pendingCount--;
    if (this.#owner.remoteReply(this, seq, received, errno)) return;
    throw new ProtocolError(`Found no request matching received 'seq' field (${seq}).`);
  }

  /** Ends the link where the other side breaks the protocol. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#lose(error.message);
    }
  }

  // ---- the end ----

  #closed(what: string, errno: number): void {
    this.#lose(`${what}: ${closeReason(errno)}.`);
  }

  #lose(reason: string): void {
    if (!this.#open) return;
    this.close();
    this.#options.log.error(reason);
    this.#owner.linkLost(this);
  }

  // ---- time ----

  #armTimer(): void {
    const { reactor } = this.#options;
    const delayMs = Math.min(
      this.#lastSentMs + this.#keepaliveMs - reactor.nowMs,
      this.#timeoutMs / TICKS_PER_TIMEOUT,
    );
    this.#timer = reactor.setTimer(Math.max(delayMs, 1), () => this.#tick());
  }

  #tick(): void {
    const { reactor } = this.#options;
    this.#noteBytes();
    if (this.#pendingCount > 0 && reactor.nowMs - this.#progressMs >= this.#timeoutMs) {
      this.#lose(`Unable to receive reply header: ${strerror(ERRNO.ETIMEDOUT)}.`);
      return;
    }
    if (reactor.nowMs - this.#lastSentMs >= this.#keepaliveMs) this.#sendKeepalive();
    this.#armTimer();
  }

  /** A large reply that comes slowly, or a long queue that leaves slowly, is progress too. */
  #noteBytes(): void {
    const { receivedBytes } = this.#replies;
    const { sentBytes, queuedBytes } = this.#requests;
    const moved = receivedBytes !== this.#tickReceivedBytes ||
      (queuedBytes > 0 && sentBytes !== this.#tickSentBytes);
    if (moved) this.#progressMs = this.#options.reactor.nowMs;
    this.#tickReceivedBytes = receivedBytes;
    this.#tickSentBytes = sentBytes;
  }

  get #keepaliveMs(): number {
    return this.#options.keepaliveMs ?? KEEPALIVE_MS;
  }

  #sendKeepalive(): void {
    this.#lastSentMs = this.#options.reactor.nowMs;
    const bytes = this.#requests.reserve(IO_HEADER_BYTES_MAX);
    const at = this.#requests.reservedAt;
    this.#requests.commit(encodeKeepalive(bytes, at, this.protocolVersion));
  }
}
