/**
 * The way of a user's request to both components and of their answers back; what those mean stands
 * in `settlement.ts`.
 *
 * `#prepare` keeps the order that data is safe by: extents dirty on disk, counters raised on disk,
 * then data.
 *
 * Source: replication.md (where a request goes).
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import type { Joining } from "./joining.ts";
import type { MapWriter } from "./map_writer.ts";
import { type Disk, DiskOp, RemoteCommand } from "./ports.ts";
import type { RemoteSide } from "./remote_side.ts";
import { UserCommand, type UserRequest } from "./request.ts";
import { Settlement, type SettlementEnv } from "./settlement.ts";
import { countError, countRequest, type IoStatistics } from "./statistics.ts";
import { countedKind, Transfer, type TransferKind, type TransferObserver } from "./transfer.ts";

/** Requests are cut into parts of this size at most, so that no lock or map grows without bound. */
const PART_BYTES_MAX = 32 * 1024 * 1024;
const FREE_TRANSFERS_MAX = 1024;

const KIND: Record<UserCommand, TransferKind> = {
  [UserCommand.read]: "read",
  [UserCommand.write]: "write",
  [UserCommand.delete]: "delete",
  [UserCommand.flush]: "flush",
  [UserCommand.zero]: "zero",
};

const DISK_OP: Record<TransferKind, DiskOp> = {
  read: DiskOp.read,
  write: DiskOp.write,
  delete: DiskOp.delete,
  zero: DiskOp.zero,
  flush: DiskOp.flush,
};

/** The other parts of the primary. */
export interface RequestPathEnv extends Omit<SettlementEnv, "goOn" | "flushFor" | "recycle"> {
  readonly disk: Disk;
  readonly log: Log;
  readonly dataOffsetBytes: number;
  readonly mapWriter: MapWriter;
  readonly remote: RemoteSide;
  readonly joining: Joining;
  readonly statistics: IoStatistics;
}

export class RequestPath implements TransferObserver {
  readonly #env: RequestPathEnv;
  readonly #settlement: Settlement;
  readonly #free: Transfer[] = [];
  /** Ready but for the map or the counters on disk. */
  #preparing: Transfer[] = [];
  #inFlightCount = 0;
  #warnedOfFlush = false;

  constructor(env: RequestPathEnv) {
    this.#env = env;
    this.#settlement = new Settlement({
      ...env,
      goOn: (user, doneBytes) => this.#startPart(this.#takeFor(user), user, doneBytes),
      flushFor: (user) => this.#flushFor(user),
      recycle: (transfer) => this.#recycle(transfer),
    });
  }

  /** Transfers that are not over on both nodes. */
  get inFlightCount(): number {
    return this.#inFlightCount;
  }

  /** Requests wait for the map or the counters to be written. */
  get preparing(): boolean {
    return this.#preparing.length > 0;
  }

  // ---- before data moves ----

  submit(request: UserRequest): void {
    request.errno = 0;
    const transfer = this.#takeFor(request);
    countRequest(this.#env.statistics, countedKind(transfer.kind));
    if (transfer.kind === "flush") this.#startFlush(transfer);
    else this.#startPart(transfer, request, 0);
  }

  #takeFor(user: UserRequest): Transfer {
    const transfer = this.#take(KIND[user.command]);
    transfer.user = user;
    return transfer;
  }

  #take(kind: TransferKind): Transfer {
    const transfer = this.#free.pop() ?? new Transfer(this);
    transfer.kind = kind;
    this.#inFlightCount++;
    return transfer;
  }

  #recycle(transfer: Transfer): void {
    this.#inFlightCount--;
    transfer.reset();
    if (this.#free.length < FREE_TRANSFERS_MAX) this.#free.push(transfer);
  }

  #startPart(transfer: Transfer, request: UserRequest, doneBytes: number): void {
    transfer.dataOffsetBytes = request.offsetBytes + doneBytes;
    transfer.lengthBytes = Math.min(request.lengthBytes - doneBytes, PART_BYTES_MAX);
    transfer.buffer = request.buffer;
    transfer.bufferOffsetBytes = request.bufferOffsetBytes;
    const { dataOffsetBytes, lengthBytes } = transfer;
    if (
      transfer.kind === "read" || this.#env.lock.acquire(transfer, dataOffsetBytes, lengthBytes)
    ) {
      this.lockGranted(transfer);
    }
  }

  /** Goes on with a transfer that has its range, or needs none. */
  lockGranted(transfer: Transfer): void {
    if (this.#env.joining.busy) this.#env.joining.hold(transfer);
    else if (transfer.kind === "read") this.#startRead(transfer);
    else this.#prepare(transfer);
  }

  #startRead(transfer: Transfer): void {
    const { dataOffsetBytes, lengthBytes } = transfer;
    const stale = this.#env.activemap.touchesStale("local", dataOffsetBytes, lengthBytes);
    if (stale) this.#readRemotely(transfer, ERRNO.EIO);
    else this.#submitLocal(transfer);
  }

  /** Reads from the peer, unless there is none or it lacks the data itself. */
  #readRemotely(transfer: Transfer, errnoOtherwise: number): void {
    const { dataOffsetBytes, lengthBytes } = transfer;
    const peerStale = this.#env.activemap.touchesStale("peer", dataOffsetBytes, lengthBytes);
    if (this.#env.remote.link !== undefined && !peerStale) {
      this.#env.remoteParts.send(transfer, RemoteCommand.read);
      return;
    }
    const where = peerStale ? "neither node has them" : "they are on the other node only";
    this.#env.log.error(`Cannot read ${lengthBytes} bytes at ${dataOffsetBytes}: ${where}.`);
    this.#refuse(transfer, errnoOtherwise);
  }

  /** Makes everything durable that must be before data is written; then dispatches. */
  #prepare(transfer: Transfer): void {
    const { activemap, counters, service } = this.#env;
    const { dataOffsetBytes, lengthBytes } = transfer;
    counters.noteWrite();
    const alone = this.#env.remote.link === undefined;
    if (alone && service.behind) {
      this.#env.log.error(
        `Cannot write at ${dataOffsetBytes}: newer data is on the other node only.`,
      );
      this.#refuse(transfer, ERRNO.EIO);
      return;
    }
    if (!transfer.begun) {
      transfer.begun = true;
      activemap.begin(dataOffsetBytes, lengthBytes);
    }
    if (service.out) {
      this.#dispatch(transfer);
      return;
    }
    if (alone) {
      activemap.markRangeStale(dataOffsetBytes, lengthBytes, "peer");
      counters.raise();
    }
    if ((!counters.raising || !alone) && activemap.isDurable(dataOffsetBytes, lengthBytes)) {
      this.#dispatch(transfer);
    } else {
      this.#preparing.push(transfer);
      this.#env.mapWriter.kick();
    }
  }

  /** The map or the counters have reached the disk: those that waited for it may go on. */
  resumePreparing(): void {
    const waiting = this.#preparing;
    this.#preparing = [];
    for (const transfer of waiting) this.lockGranted(transfer);
  }

  /** Requests whose extents cannot be marked must not touch the data. */
  failPreparing(errno: number): void {
    const waiting = this.#preparing;
    this.#preparing = [];
    for (const transfer of waiting) this.#refuse(transfer, errno);
  }

  /** The raised localcnt is on disk, or could not be written. */
  countersRaised(errno: number): void {
    this.#settlement.countersRaised(errno);
    if (errno !== 0) this.failPreparing(errno);
    else this.resumePreparing();
  }

  /** See {@link Settlement.settle}. */
  settle(transfer: Transfer): void {
    this.#settlement.settle(transfer);
  }

  /** A request that may not be done: the user gets the error. */
  #refuse(transfer: Transfer, errno: number): void {
    transfer.localUsed = true;
    transfer.localErrno = errno;
    this.#settlement.settle(transfer);
  }

  // ---- both parts ----

  #dispatch(transfer: Transfer): void {
    if (this.#env.remote.link !== undefined) {
      const deletes = transfer.kind === "delete";
      this.#env.remoteParts.send(transfer, deletes ? RemoteCommand.delete : RemoteCommand.write);
    }
    if (!this.#env.service.out) this.#submitLocal(transfer);
    else this.#settlement.lacking(transfer, "local");
  }

  #startFlush(transfer: Transfer): void {
    transfer.dataOffsetBytes = 0;
    transfer.lengthBytes = 0;
    if (this.#env.remote.link !== undefined) {
      this.#env.flusher.begin(transfer);
      this.#env.remoteParts.send(transfer, RemoteCommand.flush);
    }
    if (!this.#env.service.out) this.#submitLocal(transfer);
    else if (!transfer.remoteUsed) this.#refuse(transfer, ERRNO.EIO);
  }

  /** Flushes both nodes; no user waits for it. */
  flush(): Transfer {
    const flush = this.#take("flush");
    flush.acknowledged = true;
    this.#startFlush(flush);
    return flush;
  }

  /** FUA: the write is done, now both nodes flush. */
  #flushFor(user: UserRequest): void {
    const flush = this.#take("flush");
    flush.user = user;
    this.#startFlush(flush);
  }

  #submitLocal(transfer: Transfer): void {
    transfer.op = DISK_OP[transfer.kind];
    transfer.offsetBytes = this.#env.dataOffsetBytes + transfer.dataOffsetBytes;
    transfer.localUsed = true;
    transfer.localPending = true;
    this.#env.disk.submit(transfer);
  }

  // ---- answers ----

  localDone(transfer: Transfer): void {
    const errno = transfer.localErrno;
    if (transfer.kind === "delete" && errno === ERRNO.EOPNOTSUPP) {
      // What a delete leaves behind must be the same on both nodes: zeros then.
      transfer.localPending = true;
      transfer.op = DiskOp.zero;
      this.#env.disk.submit(transfer);
      return;
    }
    if (transfer.kind === "flush") transfer.localErrno = this.#localFlushed(errno);
    else if (transfer.kind !== "read") this.#env.lock.release(transfer);
    if (transfer.localErrno !== 0) this.#localFailed(transfer);
    else this.#settlement.settle(transfer);
  }

  /** A flush that the component has no cache for is as good as done. */
  #localFlushed(errno: number): number {
    if (errno !== ERRNO.EOPNOTSUPP) return errno;
    if (!this.#warnedOfFlush) {
      this.#env.log.warning("The local component does not support flushing its cache.");
    }
    this.#warnedOfFlush = true;
    return 0;
  }

  #localFailed(transfer: Transfer): void {
    const errno = transfer.localErrno;
    countError(this.#env.statistics, countedKind(transfer.kind));
    const what = `Local request failed (${strerror(errno)})`;
    if (transfer.kind === "read") {
      this.#env.log.warning(`${what}, trying remote node. ${transfer}.`);
      this.#readRemotely(transfer, errno);
    } else {
      this.#env.log.warning(`${what}: ${transfer}.`);
      this.#env.service.takeOut();
      this.#settlement.settle(transfer);
    }
  }

  remoteProgress(transfer: Transfer): void {
    this.#env.remoteParts.proceed(transfer);
    if (transfer.remotePending || transfer.remoteErrno === 0) this.#settlement.settle(transfer);
    else this.#remoteFailed(transfer);
  }

  #remoteFailed(transfer: Transfer): void {
    const current = transfer.link === this.#env.remote.link;
    const unsupported = transfer.remoteErrno === ERRNO.EOPNOTSUPP;
    if (unsupported && transfer.kind === "delete" && current) {
      transfer.remoteErrno = 0;
      this.#env.remoteParts.send(transfer, RemoteCommand.write);
      return;
    }
    if (unsupported && transfer.kind === "flush") transfer.remoteErrno = 0;
    if (transfer.remoteErrno !== 0 && current) {
      const reason = strerror(transfer.remoteErrno);
      this.#env.log.warning(`Remote request failed (${reason}): ${transfer}.`);
    }
    this.#settlement.settle(transfer);
  }
}
