/**
 * What answers mean: what one side lacks is marked, then the user is told, then the request is over.
 *
 * Source: replication.md (where a request goes; weaknesses 1 and 2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import type { Activemap, StaleSide } from "./activemap.ts";
import type { PrimaryCounters } from "./counters.ts";
import type { Flusher } from "./flusher.ts";
import type { LocalService } from "./local_service.ts";
import type { BufferPool } from "./ports.ts";
import type { RangeLock } from "./range_lock.ts";
import type { RemoteParts } from "./remote_part.ts";
import { UserCommand, type UserRequest } from "./request.ts";
import type { Synchroniser } from "./synchroniser.ts";
import type { Transfer } from "./transfer.ts";

export interface SettlementEnv {
  readonly buffers: BufferPool;
  readonly datasizeBytes: number;
  readonly activemap: Activemap;
  readonly lock: RangeLock;
  readonly remoteParts: RemoteParts;
  readonly counters: PrimaryCounters;
  readonly service: LocalService;
  readonly flusher: Flusher;
  readonly sync: Synchroniser;
  /** The first `doneBytes` of a request are done: goes on with the rest. */
  readonly goOn: (user: UserRequest, doneBytes: number) => void;
  /** FUA: the write is done, now both nodes flush. */
  readonly flushFor: (user: UserRequest) => void;
  /** Nobody uses the transfer any longer. */
  readonly recycle: (transfer: Transfer) => void;
}

export class Settlement {
  readonly #env: SettlementEnv;
  /** Local success, waiting for the raised localcnt to be durable. */
  #awaitingCounters: Transfer[] = [];

  constructor(env: SettlementEnv) {
    this.#env = env;
  }

  /**
   * Something about a transfer has changed: marks what one side lacks, tells the user if enough
   * answers are there, and ends it when nothing is missing any more.
   */
  settle(transfer: Transfer): void {
    this.#markLacking(transfer);
    if (!transfer.acknowledged && transfer.decided) this.#acknowledge(transfer);
    if (transfer.over && transfer.acknowledged) this.#finish(transfer);
  }

  #markLacking(transfer: Transfer): void {
    if (transfer.localPending || transfer.kind === "read") return;
    const { counters, service } = this.#env;
    const side = this.#lackingSide(transfer);
    if (side === undefined || side === transfer.markedSide) return;
    transfer.markedSide = side;
    this.lacking(transfer, side);
    const localHasIt = transfer.localUsed && transfer.localErrno === 0;
    if (side === "peer" && localHasIt && transfer.changesData && !service.behind) counters.raise();
  }

  #lackingSide(transfer: Transfer): StaleSide | undefined {
    if (transfer.remoteUsed && transfer.remoteErrno !== 0) return "peer";
    const localFailed = transfer.localUsed && transfer.localErrno !== 0;
    return localFailed && transfer.remoteSucceeded ? this.#env.service.lackingSide : undefined;
  }

  /** One side does not have what this transfer was to change there. */
  lacking(transfer: Transfer, side: StaleSide): void {
    const { activemap, sync } = this.#env;
    const { dataOffsetBytes, lengthBytes } = transfer;
    if (transfer.kind === "flush") {
      activemap.markUnflushedStale(side);
      sync.invalidate(0, this.#env.datasizeBytes);
    } else {
      activemap.markRangeStale(dataOffsetBytes, lengthBytes, side);
      sync.invalidate(dataOffsetBytes, lengthBytes);
    }
    sync.noteStale();
  }

  // ---- the user is told ----

  #acknowledge(transfer: Transfer): void {
    if (transfer.kind !== "read" && !this.#mayAcknowledge(transfer)) return;
    transfer.acknowledged = true;
    const user = transfer.user;
    if (user === undefined) return;
    transfer.user = undefined;
    user.errno = transfer.result === ERRNO.ENOTCONN ? ERRNO.EIO : transfer.result;
    const doneBytes = transfer.dataOffsetBytes + transfer.lengthBytes - user.offsetBytes;
    const succeeded = transfer.kind !== "flush" && user.errno === 0;
    if (succeeded && doneBytes < user.lengthBytes) this.#env.goOn(user, doneBytes);
    else if (succeeded && user.fua) this.#env.flushFor(user);
    else {
      if (user.command === UserCommand.write) user.buffer = undefined;
      user.completed(user);
    }
  }

  /** Where one node alone has done it, its counters must say so before the user is told. */
  #mayAcknowledge(transfer: Transfer): boolean {
    const { counters, service } = this.#env;
    if (service.behind && transfer.peerLacksIt && transfer.localErrno === 0) {
      transfer.localErrno = ERRNO.EIO;
    }
    if (counters.raising && transfer.changesData && transfer.peerLacksIt) {
      if (!transfer.awaitsCounters) this.#awaitingCounters.push(transfer);
      transfer.awaitsCounters = true;
      return false;
    }
    if (transfer.localSucceeded || !transfer.remoteSucceeded || service.claim === "done") {
      return true;
    }
    if (service.claim === "asked") {
      if (!transfer.awaitsCounters) service.awaitClaim(transfer);
      transfer.awaitsCounters = true;
      return false;
    }
    // The other node cannot be told that it alone has this: the user is told of the failure.
    transfer.remoteErrno = transfer.localErrno;
    return true;
  }

  /** The raised localcnt is on disk, or could not be written. */
  countersRaised(errno: number): void {
    const waiting = this.#awaitingCounters;
    this.#awaitingCounters = [];
    for (const transfer of waiting) {
      transfer.awaitsCounters = false;
      if (errno !== 0 && transfer.localErrno === 0) transfer.localErrno = errno;
      this.settle(transfer);
    }
  }

  /** Nothing is missing any more: the buffer goes back, the extents are released. */
  #finish(transfer: Transfer): void {
    const { activemap, buffers, flusher, lock, remoteParts } = this.#env;
    if (transfer.begun) activemap.end(transfer.dataOffsetBytes, transfer.lengthBytes);
    if (transfer.entered) lock.release(transfer);
    remoteParts.forget(transfer);
    if (transfer.kind === "write" && transfer.buffer !== undefined) buffers.give(transfer.buffer);
    if (transfer.kind === "flush") flusher.over(transfer);
    this.#env.recycle(transfer);
    flusher.schedule();
  }
}
