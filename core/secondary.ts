/**
 * The secondary: does what the primary asks, in an order that the primary can rely on.
 *
 * Overlapping requests are done in the order in which they came, whatever the component does
 * with them; a FLUSH covers every request that came before it.
 *
 * Source: wire.md (requests, replies), replication.md.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import { type Disk, type DiskJob, DiskOp, type IoBuffer, RemoteCommand } from "./ports.ts";
import { LockedRange, RangeLock } from "./range_lock.ts";
import {
  type CountedKind,
  countError,
  countRequest,
  type IoStatistics,
  newStatistics,
} from "./statistics.ts";

/** Where replies go. Source: wire.md (replies). */
export interface ReplyPort {
  /**
   * Answers a request. After the final answer (`received` false) the request and its buffer
   * belong to the link again; a successful READ carries its buffer's data.
   */
  reply(request: SecondaryRequest, received: boolean, errno: number): void;
}

/** One valid request of the primary; made, filled and used again by the link. */
export class SecondaryRequest extends LockedRange implements DiskJob {
  command = RemoteCommand.read;
  /** The primary's number for it, to be sent back: two halves of a u64. */
  seqLow = 0;
  seqHigh = 0;
  /** Bytes from the start of the data. */
  dataOffsetBytes = 0;
  lengthBytes = 0;
  memsync = false;
  /** WRITE of zeros that came as a hole: there is no buffer. */
  zeros = false;
  buffer: IoBuffer | undefined = undefined;
  bufferOffsetBytes = 0;

  op = DiskOp.read;
  offsetBytes = 0;
  /** Set by the core while it has the request. */
  handler: Secondary | undefined = undefined;
  epoch: FlushEpoch | undefined = undefined;

  override granted(): void {
    this.handler?.lockGranted(this);
  }

  diskDone(errno: number): void {
    this.handler?.diskDone(this, errno);
  }
}

/** Requests between two flushes; the flush at its end waits for all before it. */
interface FlushEpoch {
  pendingCount: number;
  flush: SecondaryRequest | undefined;
}

export interface SecondaryEnv {
  readonly disk: Disk;
  readonly replies: ReplyPort;
  readonly log: Log;
  /** Where the data starts in the component. */
  readonly dataOffsetBytes: number;
  /** The primary has stored our map: it can be cleared on disk. Called once. */
  readonly firstRequest: () => void;
  /**
   * The primary's component has failed: raises our localcnt by one and sets the whole map on
   * disk, durably, so that whoever asks learns that this node alone is up to date.
   */
  readonly claim: (done: (errno: number) => void) => void;
}

const COUNTED: Partial<Record<RemoteCommand, CountedKind>> = {
  [RemoteCommand.read]: "read",
  [RemoteCommand.write]: "write",
  [RemoteCommand.delete]: "delete",
  [RemoteCommand.flush]: "flush",
};

export class Secondary {
  readonly #env: SecondaryEnv;
  readonly #lock = new RangeLock();
  readonly #epochs: FlushEpoch[] = [{ pendingCount: 0, flush: undefined }];
  #first = true;
  #inFlightCount = 0;
  readonly statistics: IoStatistics = newStatistics();

  constructor(env: SecondaryEnv) {
    this.#env = env;
  }

  /** Requests that are not answered for good. */
  get inFlightCount(): number {
    return this.#inFlightCount;
  }

  /** Anything has come from the primary, a keep-alive for instance. */
  heard(): void {
    if (!this.#first) return;
    this.#first = false;
    this.#env.firstRequest();
  }

  /** Takes a request whose data, if any, is in memory. */
  request(request: SecondaryRequest): void {
    this.heard();
    this.#inFlightCount++;
    request.handler = this;
    const kind = COUNTED[request.command];
    if (kind !== undefined) countRequest(this.statistics, kind);
    if (request.command === RemoteCommand.flush) {
      this.#flush(request);
      return;
    }
    if (request.command === RemoteCommand.claim) {
      this.#env.claim((errno) => this.#answer(request, errno));
      return;
    }
    if (request.command === RemoteCommand.write && request.memsync) {
      this.#env.replies.reply(request, true, 0);
    }
    const epoch = this.#lastEpoch();
    epoch.pendingCount++;
    request.epoch = epoch;
    if (this.#lock.acquire(request, request.dataOffsetBytes, request.lengthBytes)) {
      this.lockGranted(request);
    }
  }

  lockGranted(request: SecondaryRequest): void {
    request.op = opOf(request);
    request.offsetBytes = this.#env.dataOffsetBytes + request.dataOffsetBytes;
    this.#env.disk.submit(request);
  }

  diskDone(request: SecondaryRequest, errno: number): void {
    if (request.command === RemoteCommand.flush) {
      this.#answer(request, errno);
      return;
    }
    if (errno === ERRNO.EOPNOTSUPP && request.op === DiskOp.delete) {
      // The primary's range may read as zeros now, and so must ours.
      request.op = DiskOp.zero;
      this.#env.disk.submit(request);
      return;
    }
    this.#lock.release(request);
    const epoch = request.epoch;
    request.epoch = undefined;
    if (epoch !== undefined) epoch.pendingCount--;
    this.#answer(request, errno);
    this.#runFlushes();
  }

  #flush(request: SecondaryRequest): void {
    this.#lastEpoch().flush = request;
    this.#epochs.push({ pendingCount: 0, flush: undefined });
    this.#runFlushes();
  }

  #runFlushes(): void {
    for (;;) {
      const [first] = this.#epochs;
      if (first?.flush === undefined || first.pendingCount > 0) return;
      this.#epochs.shift();
      const flush = first.flush;
      flush.op = DiskOp.flush;
      flush.offsetBytes = 0;
      this.#env.disk.submit(flush);
    }
  }

  #lastEpoch(): FlushEpoch {
    const last = this.#epochs[this.#epochs.length - 1];
    if (last !== undefined) return last;
    const fresh = { pendingCount: 0, flush: undefined };
    this.#epochs.push(fresh);
    return fresh;
  }

  #answer(request: SecondaryRequest, errno: number): void {
    this.#inFlightCount--;
    request.handler = undefined;
    if (errno !== 0) {
      const kind = COUNTED[request.command];
      if (kind !== undefined) countError(this.statistics, kind);
      this.#env.log.error(`Request failed: ${describe(request)}.: ${strerror(errno)}.`);
    }
    this.#env.replies.reply(request, false, errno);
  }
}

function opOf(request: SecondaryRequest): DiskOp {
  if (request.command === RemoteCommand.read) return DiskOp.read;
  if (request.command === RemoteCommand.delete) return DiskOp.delete;
  return request.zeros ? DiskOp.zero : DiskOp.write;
}

function describe(request: SecondaryRequest): string {
  const { command, dataOffsetBytes, lengthBytes } = request;
  const range = `(${dataOffsetBytes}, ${lengthBytes})`;
  if (command === RemoteCommand.read) return `READ${range}`;
  if (command === RemoteCommand.write) return `WRITE${range}`;
  return command === RemoteCommand.delete ? `DELETE${range}` : "FLUSH";
}
