/**
 * The primary: takes the user's requests to both components and keeps account of what may differ.
 *
 * It is driven by calls from one thread and answers through the ports of its environment; it has
 * no clock, does no I/O and never waits. The order that keeps data safe is in `#prepare` (extents
 * dirty on disk, counters raised on disk, then data) and `#settle` (what one side lacks is marked
 * before the user is told).
 *
 * Source: replication.md.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ReplicationMode } from "../conf/config.ts";
import type { Metadata } from "../protocol/metadata.ts";
import { Activemap, type StaleSide } from "./activemap.ts";
import { MapWriter } from "./map_writer.ts";
import { MetadataStore } from "./metadata_store.ts";
import {
  type BufferPool,
  type Disk,
  DiskOp,
  type PeerLink,
  RemoteCommand,
  type RemoteRequest,
  type Timers,
} from "./ports.ts";
import { RangeLock } from "./range_lock.ts";
import { RemoteSide } from "./remote_side.ts";
import { UserCommand, type UserRequest } from "./request.ts";
import type { PrimaryHello, SyncSource } from "./sync_decision.ts";
import { Synchroniser } from "./synchroniser.ts";
import { Transfer, type TransferKind, type TransferObserver } from "./transfer.ts";

/** Requests are cut into parts of this size at most, so that no lock or map grows without bound. */
const PART_BYTES_MAX = 32 * 1024 * 1024;
/** Pieces of one transfer that are on their way to the peer at the same time. */
const PIECES_IN_FLIGHT_MAX = 256;
/** Bytes that async may leave unanswered by the peer; beyond, a write waits as in fullsync. */
const BACKLOG_BYTES_MAX = 64 * 1024 * 1024;
/** How long extents may stay dirty only because the nodes have not flushed. */
const FLUSH_INTERVAL_MS = 2000;
const FREE_TRANSFERS_MAX = 1024;

export interface PrimaryEvents {
  connected(): void;
  disconnected(): void;
  syncStarted(): void;
  syncDone(): void;
  syncInterrupted(): void;
  /** The local component is out of service: requests go to the other node alone. */
  localFailed(): void;
}

export interface PrimaryConfig {
  replication: ReplicationMode;
  metaflush: boolean;
  /** 0: no limit. */
  syncRateBytesPerSecond: number;
}

export interface PrimaryEnv {
  readonly disk: Disk;
  readonly buffers: BufferPool;
  readonly timers: Timers;
  readonly log: Log;
  readonly events: PrimaryEvents;
  readonly nowMs: () => number;
  /** A random u64 that is not 0. */
  readonly randomResuid: () => bigint;
}

/** The secondary's answer to the second step of the handshake. */
export interface PeerAnswer {
  localcnt: bigint;
  remotecnt: bigint;
  virgin: boolean;
  syncSource: SyncSource;
  /** The extents that it says may differ, or undefined where it sent none. */
  map: Uint8Array | undefined;
}

/** Figures of `hastctl list`. */
export interface PrimaryStatistics {
  reads: number;
  writes: number;
  deletes: number;
  flushes: number;
  readErrors: number;
  writeErrors: number;
  deleteErrors: number;
  flushErrors: number;
}

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

export class Primary implements TransferObserver {
  readonly #env: PrimaryEnv;
  readonly #activemap: Activemap;
  readonly #mapWriter: MapWriter;
  readonly #metadata: MetadataStore;
  readonly #remote = new RemoteSide();
  readonly #lock = new RangeLock();
  readonly #sync: Synchroniser;
  readonly #free: Transfer[] = [];
  readonly statistics: PrimaryStatistics = {
    reads: 0,
    writes: 0,
    deletes: 0,
    flushes: 0,
    readErrors: 0,
    writeErrors: 0,
    deleteErrors: 0,
    flushErrors: 0,
  };
  #config: PrimaryConfig;
  /** Ready but for the map or the counters on disk. */
  #preparing: Transfer[] = [];
  /** Came while the peer's map was being merged. */
  #held: Transfer[] = [];
  /** Local success, waiting for the raised localcnt to be durable. */
  #awaitingCounters: Transfer[] = [];
  /** Remote success only, waiting for the other node to say durably that it alone is up to date. */
  #awaitingClaim: Transfer[] = [];
  /** Whether the other node says so: not asked yet, asked, or done since both were in sync. */
  #claim: "none" | "asked" | "done" = "none";
  /** The local component has failed and is not used for data. */
  #outOfService = false;
  /**
   * The other node is, or may be, ahead of this one until both are in sync: writes that it does
   * not have would be a split-brain, so they fail.
   */
  #behind = false;
  /** A link whose map is being stored; no request goes anywhere until it is. */
  #joining: { link: PeerLink; answer: PeerAnswer } | undefined = undefined;
  /** Counters of the secondary, as long as its link lasts. */
  #peerLocalcnt = 0n;
  #peerRemotecnt = 0n;
  /** The flush after which a synchronisation counts. */
  #finalFlush: Transfer | undefined = undefined;
  /** localcnt was raised since both nodes were last in sync. */
  #raised = false;
  #raising = false;
  #everWritten = false;
  #everLinked = false;
  #drewResuid = false;
  #backlogBytes = 0;
  #inFlightCount = 0;
  #flushTimer = 0;
  #warned = new Set<string>();

  constructor(metadata: Metadata, map: Uint8Array, config: PrimaryConfig, env: PrimaryEnv) {
    this.#env = env;
    this.#config = config;
    this.#activemap = new Activemap({
      datasizeBytes: metadata.datasizeBytes,
      extentsizeBytes: metadata.extentsizeBytes,
      mapBytes: map.length,
      keepdirtyCount: metadata.keepdirtyCount,
    });
    this.#activemap.load(map);
    this.#metadata = new MetadataStore(metadata, {
      disk: env.disk,
      buffer: env.buffers.take(4096),
    });
    this.#mapWriter = new MapWriter({
      disk: env.disk,
      activemap: this.#activemap,
      snapshot: env.buffers.take(map.length),
      mapOffsetBytes: metadata.dataOffsetBytes - map.length,
      metaflush: () => this.#config.metaflush,
      written: (errno) => this.#mapWritten(errno),
    });
    this.#sync = new Synchroniser({
      disk: env.disk,
      buffers: env.buffers,
      timers: env.timers,
      nowMs: env.nowMs,
      log: env.log,
      activemap: this.#activemap,
      lock: this.#lock,
      remote: this.#remote,
      dataOffsetBytes: metadata.dataOffsetBytes,
      datasizeBytes: metadata.datasizeBytes,
      extentsizeBytes: metadata.extentsizeBytes,
      userBusy: () => this.#inFlightCount > 0,
      localWritable: () => !this.#outOfService,
      rateBytesPerSecond: () => this.#config.syncRateBytesPerSecond,
      started: () => env.events.syncStarted(),
      copied: (bytes) => this.#allCopied(bytes),
    });
  }

  get activemap(): Activemap {
    return this.#activemap;
  }

  get metadata(): Readonly<Metadata> {
    return this.#metadata.current;
  }

  /** Connected, and what the peer knows is stored. */
  get connected(): boolean {
    return this.#remote.link !== undefined;
  }

  get synchroniser(): Synchroniser {
    return this.#sync;
  }

  get activemapWrites(): number {
    return this.#mapWriter.writeCount;
  }

  /** The local component has failed; see {@link attach}. */
  get outOfService(): boolean {
    return this.#outOfService;
  }

  /** User requests that are not over on both nodes. */
  get inFlightCount(): number {
    return this.#inFlightCount;
  }

  get remotePendingCount(): number {
    return this.#remote.pendingCount;
  }

  /** Applies to requests that come from now on. */
  reconfigure(config: PrimaryConfig): void {
    this.#config = config;
  }

  // ---- the user's requests ----

  /** Takes a request of the front; `request.completed` is called when it is done. */
  submit(request: UserRequest): void {
    this.#count(request.command);
    request.errno = 0;
    const transfer = this.#take(KIND[request.command]);
    transfer.user = request;
    if (transfer.kind === "flush") this.#startFlush(transfer);
    else this.#startPart(transfer, request, 0);
  }

  #startPart(transfer: Transfer, request: UserRequest, doneBytes: number): void {
    transfer.dataOffsetBytes = request.offsetBytes + doneBytes;
    transfer.lengthBytes = Math.min(request.lengthBytes - doneBytes, PART_BYTES_MAX);
    transfer.buffer = request.buffer;
    transfer.bufferOffsetBytes = request.bufferOffsetBytes;
    if (transfer.kind === "read") this.#startRead(transfer);
    else if (
      this.#lock.acquire(transfer, transfer.dataOffsetBytes, transfer.lengthBytes)
    ) this.lockGranted(transfer);
  }

  #startRead(transfer: Transfer): void {
    if (this.#joining !== undefined) {
      this.#held.push(transfer);
      return;
    }
    const stale = this.#activemap.touchesStale(
      "local",
      transfer.dataOffsetBytes,
      transfer.lengthBytes,
    );
    if (stale) this.#readRemotely(transfer, ERRNO.EIO);
    else this.#submitLocal(transfer);
  }

  /** Reads from the peer, unless there is none or it lacks the data itself. */
  #readRemotely(transfer: Transfer, errnoOtherwise: number): void {
    const { dataOffsetBytes, lengthBytes } = transfer;
    const peerStale = this.#activemap.touchesStale("peer", dataOffsetBytes, lengthBytes);
    if (this.#remote.link === undefined || peerStale) {
      this.#env.log.error(
        `Cannot read ${lengthBytes} bytes at ${dataOffsetBytes}: ${
          peerStale ? "neither node has them" : "they are on the other node only"
        }.`,
      );
      this.#refuse(transfer, errnoOtherwise);
      return;
    }
    this.#sendRemote(transfer, RemoteCommand.read);
  }

  lockGranted(transfer: Transfer): void {
    if (this.#joining !== undefined) this.#held.push(transfer);
    else this.#prepare(transfer);
  }

  /** Makes everything durable that must be before data is written; then dispatches. */
  #prepare(transfer: Transfer): void {
    const { dataOffsetBytes, lengthBytes } = transfer;
    this.#everWritten = true;
    const alone = this.#remote.link === undefined;
    if (alone && this.#behind) {
      this.#env.log.error(
        `Cannot write at ${dataOffsetBytes}: newer data is on the other node only.`,
      );
      this.#refuse(transfer, ERRNO.EIO);
      return;
    }
    if (!transfer.begun) {
      transfer.begun = true;
      this.#activemap.begin(dataOffsetBytes, lengthBytes);
    }
    if (this.#outOfService) {
      this.#dispatch(transfer);
      return;
    }
    if (alone) {
      this.#activemap.markRangeStale(dataOffsetBytes, lengthBytes, "peer");
      this.#raiseLocalcnt();
    }
    if (this.#isPrepared(transfer)) this.#dispatch(transfer);
    else {
      this.#preparing.push(transfer);
      this.#mapWriter.kick();
    }
  }

  /** A request that may not be done: the user gets the error. */
  #refuse(transfer: Transfer, errno: number): void {
    transfer.localUsed = true;
    transfer.localErrno = errno;
    this.#settle(transfer);
  }

  #isPrepared(transfer: Transfer): boolean {
    return (!this.#raising || this.#remote.link !== undefined) &&
      this.#activemap.isDurable(transfer.dataOffsetBytes, transfer.lengthBytes);
  }

  /** The map or the counters have reached the disk: those that waited for it may go on. */
  #resumePreparing(): void {
    const waiting = this.#preparing;
    this.#preparing = [];
    for (const transfer of waiting) this.lockGranted(transfer);
  }

  #dispatch(transfer: Transfer): void {
    if (this.#remote.link !== undefined) {
      const deletes = transfer.kind === "delete";
      this.#sendRemote(transfer, deletes ? RemoteCommand.delete : RemoteCommand.write);
    }
    if (!this.#outOfService) this.#submitLocal(transfer);
    else this.#lacking(transfer, "local");
  }

  #submitLocal(transfer: Transfer): void {
    transfer.op = DISK_OP[transfer.kind];
    transfer.offsetBytes = this.metadata.dataOffsetBytes + transfer.dataOffsetBytes;
    transfer.localUsed = true;
    transfer.localPending = true;
    this.#env.disk.submit(transfer);
  }

  // ---- the remote part ----

  #sendRemote(transfer: Transfer, command: RemoteCommand): void {
    const link = this.#remote.link;
    invariant(link !== undefined, "a remote part needs a link");
    transfer.link = link;
    transfer.remoteUsed = true;
    transfer.mode = this.#modeFor(transfer, link);
    const cut = command === RemoteCommand.read || command === RemoteCommand.write;
    transfer.unsentBytes = transfer.lengthBytes;
    if (transfer.changesData && transfer.backlogBytes === 0) {
      transfer.backlogBytes = transfer.lengthBytes;
      this.#backlogBytes += transfer.lengthBytes;
    }
    if (cut) this.#sendPieces(transfer, command, link);
    else this.#sendPiece(transfer, command, transfer.lengthBytes);
  }

  #modeFor(transfer: Transfer, link: PeerLink): ReplicationMode {
    const mode = this.#config.replication;
    // What this node holds does not count while the other one is ahead.
    if (this.#behind) return "fullsync";
    if (mode === "memsync" && link.protocolVersion < 2) {
      this.#warnOnce(
        "memsync",
        "Replication mode memsync is not supported by the remote node, falling back to fullsync mode.",
      );
      return "fullsync";
    }
    if (mode !== "async" || transfer.kind === "flush") return mode;
    if (this.#backlogBytes >= BACKLOG_BYTES_MAX) return "fullsync";
    return mode;
  }

  #sendPieces(transfer: Transfer, command: RemoteCommand, link: PeerLink): void {
    while (transfer.unsentBytes > 0 && transfer.piecesPending < PIECES_IN_FLIGHT_MAX) {
      this.#sendPiece(transfer, command, Math.min(transfer.unsentBytes, link.requestBytesMax));
    }
  }

  #sendPiece(transfer: Transfer, command: RemoteCommand, lengthBytes: number): void {
    const startBytes = transfer.lengthBytes - transfer.unsentBytes;
    transfer.unsentBytes -= lengthBytes;
    transfer.piecesPending++;
    transfer.piecesUnreceived++;
    this.#remote.send({
      command,
      offsetBytes: transfer.dataOffsetBytes + startBytes,
      lengthBytes,
      memsync: command === RemoteCommand.write && transfer.mode === "memsync",
      buffer: transfer.buffer,
      bufferOffsetBytes: transfer.bufferOffsetBytes + startBytes,
      zeros: transfer.kind === "zero" || transfer.kind === "delete",
    }, transfer);
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
    else if (transfer.kind !== "read") this.#lock.release(transfer);
    if (transfer.localErrno !== 0) this.#localFailed(transfer);
    else this.#settle(transfer);
  }

  #localFailed(transfer: Transfer): void {
    this.#countError(transfer.kind);
    this.#env.log.error(
      `Local request failed (${strerror(transfer.localErrno)}): ${describe(transfer)}.`,
    );
    if (transfer.kind === "read") this.#readRemotely(transfer, transfer.localErrno);
    else {
      this.#takeOutOfService();
      this.#settle(transfer);
    }
  }

  /**
   * The component cannot be written. If the other node has everything, it is told that it alone
   * is up to date, and from then on it serves; else the user gets the errors.
   */
  #takeOutOfService(): void {
    if (this.#outOfService || !this.#peerCanServe) return;
    this.#outOfService = true;
    this.#behind = true;
    this.#env.log.error("The local component is out of service, the remote node alone is used.");
    this.#env.events.localFailed();
    if (this.#claim === "none") this.#askClaim();
  }

  #askClaim(): void {
    this.#claim = "asked";
    this.#remote.send({
      command: RemoteCommand.claim,
      offsetBytes: 0,
      lengthBytes: 0,
      memsync: false,
      buffer: undefined,
      bufferOffsetBytes: 0,
      zeros: false,
    }, {
      pieceReceived: () => {},
      pieceDone: (_piece, errno) => this.#claimed(errno),
    });
  }

  get #peerCanServe(): boolean {
    // With a raised localcnt of ours its claim would read as a split-brain.
    const inSync = this.#metadata.settled && this.metadata.localcnt === this.#peerRemotecnt;
    return this.#remote.link?.takesClaims === true && inSync && !this.#activemap.anyStale("peer");
  }

  #claimed(errno: number): void {
    this.#claim = errno === 0 ? "done" : "none";
    if (errno === 0) this.#peerLocalcnt += 1n;
    else if (errno !== ERRNO.ENOTCONN) {
      // It has refused. Where the link was lost instead, it may have done it all the same.
      this.#outOfService = false;
      this.#behind = false;
    }
    const waiting = this.#awaitingClaim;
    this.#awaitingClaim = [];
    for (const transfer of waiting) {
      // Nobody would know that the other node has it: that is no success.
      if (errno !== 0 && transfer.remoteErrno === 0) transfer.remoteErrno = errno;
      this.#settle(transfer);
    }
  }

  /**
   * Takes the component back into service after it has been repaired: what it lacks is copied
   * from the other node.
   *
   * @returns whether it was out of service.
   */
  attach(): boolean {
    if (!this.#outOfService) return false;
    this.#outOfService = false;
    this.#env.log.info("The local component is back in service.");
    this.#mapWriter.kick();
    this.#sync.resume();
    return true;
  }

  /** A flush that the component has no cache for is as good as done. */
  #localFlushed(errno: number): number {
    if (errno !== ERRNO.EOPNOTSUPP) return errno;
    this.#warnOnce("flush", "The local component does not support flushing its cache.");
    return 0;
  }

  remoteProgress(transfer: Transfer): void {
    const link = transfer.link;
    if (transfer.unsentBytes > 0) {
      if (link !== undefined && link === this.#remote.link && transfer.remoteErrno === 0) {
        const reading = transfer.kind === "read";
        this.#sendPieces(transfer, reading ? RemoteCommand.read : RemoteCommand.write, link);
      } else transfer.unsentBytes = 0;
    }
    if (transfer.remotePending || transfer.remoteErrno === 0) this.#settle(transfer);
    else this.#remoteFailed(transfer, link);
  }

  #remoteFailed(transfer: Transfer, link: PeerLink | undefined): void {
    const unsupported = transfer.remoteErrno === ERRNO.EOPNOTSUPP;
    if (unsupported && transfer.kind === "delete" && link === this.#remote.link) {
      transfer.remoteErrno = 0;
      this.#sendRemote(transfer, RemoteCommand.write);
      return;
    }
    if (unsupported && transfer.kind === "flush") transfer.remoteErrno = 0;
    if (transfer.remoteErrno !== 0 && link === this.#remote.link) {
      this.#env.log.error(
        `Remote request failed (${strerror(transfer.remoteErrno)}): ${describe(transfer)}.`,
      );
    }
    this.#settle(transfer);
  }

  /**
   * Something about a transfer has changed: marks what one side lacks, tells the user if enough
   * answers are there, and ends it when nothing is missing any more.
   */
  #settle(transfer: Transfer): void {
    this.#markLacking(transfer);
    if (!transfer.acknowledged && transfer.decided) this.#acknowledge(transfer);
    if (transfer.over && transfer.acknowledged) this.#finish(transfer);
  }

  #markLacking(transfer: Transfer): void {
    if (transfer.localPending || transfer.kind === "read") return;
    const localFailed = transfer.localUsed && transfer.localErrno !== 0;
    const remoteFailed = transfer.remoteUsed && transfer.remoteErrno !== 0;
    if (remoteFailed) {
      this.#lacking(transfer, "peer");
      if (!localFailed && transfer.changesData && !this.#behind) this.#raiseLocalcnt();
    } else if (localFailed && transfer.remoteSucceeded) {
      this.#lacking(transfer, this.#claim === "none" ? "peer" : "local");
    }
  }

  #lacking(transfer: Transfer, side: StaleSide): void {
    if (transfer.kind === "flush") {
      this.#activemap.markUnflushedStale(side);
      this.#sync.invalidate(0, this.metadata.datasizeBytes);
    } else {
      this.#activemap.markRangeStale(transfer.dataOffsetBytes, transfer.lengthBytes, side);
      this.#sync.invalidate(transfer.dataOffsetBytes, transfer.lengthBytes);
    }
    this.#sync.noteStale();
  }

  #acknowledge(transfer: Transfer): void {
    if (this.#behind && transfer.changesData && transfer.peerLacksIt && transfer.localErrno === 0) {
      transfer.localErrno = ERRNO.EIO;
    }
    if (this.#raising && transfer.changesData && transfer.peerLacksIt) {
      if (!transfer.awaitsCounters) this.#awaitingCounters.push(transfer);
      transfer.awaitsCounters = true;
      return;
    }
    if (transfer.changesData && !transfer.localSucceeded && transfer.remoteSucceeded) {
      if (this.#claim === "asked") {
        if (!transfer.awaitsCounters) this.#awaitingClaim.push(transfer);
        transfer.awaitsCounters = true;
        return;
      }
      // The other node cannot be told that it alone has this: the user is told of the failure.
      if (this.#claim === "none") transfer.remoteErrno = transfer.localErrno;
    }
    transfer.acknowledged = true;
    const user = transfer.user;
    if (user === undefined) return;
    user.errno = transfer.result === ERRNO.ENOTCONN ? ERRNO.EIO : transfer.result;
    const doneBytes = transfer.dataOffsetBytes + transfer.lengthBytes - user.offsetBytes;
    if (transfer.kind !== "flush" && user.errno === 0 && doneBytes < user.lengthBytes) {
      this.#continue(user, doneBytes);
    } else if (user.fua && transfer.kind !== "flush" && user.errno === 0) {
      this.#flushFor(user);
    } else this.#complete(user);
    transfer.user = undefined;
  }

  #continue(user: UserRequest, doneBytes: number): void {
    const next = this.#take(KIND[user.command]);
    next.user = user;
    this.#startPart(next, user, doneBytes);
  }

  /** FUA: the write is done, now both nodes flush. */
  #flushFor(user: UserRequest): void {
    const flush = this.#take("flush");
    flush.user = user;
    this.#startFlush(flush);
  }

  #complete(user: UserRequest): void {
    if (user.command === UserCommand.write) user.buffer = undefined;
    user.completed(user);
  }

  /** Nothing is missing any more: the buffer goes back, the extents are released. */
  #finish(transfer: Transfer): void {
    if (transfer.begun) this.#activemap.end(transfer.dataOffsetBytes, transfer.lengthBytes);
    if (transfer.entered) this.#lock.release(transfer);
    this.#backlogBytes -= transfer.backlogBytes;
    if (transfer.kind === "write" && transfer.buffer !== undefined) {
      this.#env.buffers.give(transfer.buffer);
    }
    if (transfer.kind === "flush") this.#flushOver(transfer);
    this.#inFlightCount--;
    transfer.reset();
    if (this.#free.length < FREE_TRANSFERS_MAX) this.#free.push(transfer);
    this.#scheduleFlush();
  }

  #flushOver(transfer: Transfer): void {
    const flushed = transfer.localSucceeded && transfer.remoteSucceeded;
    if (transfer.tracksFlush) {
      this.#activemap.endFlush(flushed);
      this.#mapWriter.kick();
    }
    if (transfer !== this.#finalFlush) return;
    this.#finalFlush = undefined;
    this.#finalFlushed(flushed);
  }

  #take(kind: TransferKind): Transfer {
    const transfer = this.#free.pop() ?? new Transfer(this);
    transfer.kind = kind;
    transfer.mode = this.#config.replication;
    this.#inFlightCount++;
    return transfer;
  }

  // ---- flush ----

  #startFlush(transfer: Transfer): void {
    transfer.dataOffsetBytes = 0;
    transfer.lengthBytes = 0;
    if (this.#remote.link !== undefined) {
      transfer.tracksFlush = this.#activemap.beginFlush();
      this.#sendRemote(transfer, RemoteCommand.flush);
    }
    if (!this.#outOfService) this.#submitLocal(transfer);
    else if (!transfer.remoteUsed) this.#refuse(transfer, ERRNO.EIO);
  }

  /** Extents stay dirty until both nodes have flushed; without a user who does, we do. */
  #scheduleFlush(): void {
    if (this.#flushTimer !== 0 || this.#remote.link === undefined) return;
    if (this.#activemap.coolingCount === 0) return;
    this.#flushTimer = this.#env.timers.setTimer(FLUSH_INTERVAL_MS, () => {
      this.#flushTimer = 0;
      if (this.#remote.link !== undefined && this.#activemap.coolingCount > 0) this.#flushBoth();
    });
  }

  #flushBoth(): Transfer {
    const flush = this.#take("flush");
    flush.acknowledged = true; // Nobody waits for it.
    this.#startFlush(flush);
    return flush;
  }

  // ---- map and counters ----

  #mapWritten(errno: number): void {
    if (errno !== 0) {
      this.#env.log.error(`Unable to write activemap to disk: ${strerror(errno)}.`);
      this.#takeOutOfService();
      if (this.#outOfService) this.#resumePreparing();
      else this.#failPreparing(errno);
      this.#leaveJoin("the activemap cannot be stored");
    } else {
      this.#tryJoin();
      this.#resumePreparing();
    }
    const wanted = this.#preparing.length > 0 || this.#joining !== undefined;
    if (wanted && !this.#outOfService) this.#mapWriter.kick();
  }

  /** Requests whose extents cannot be marked must not touch the data. */
  #failPreparing(errno: number): void {
    const waiting = this.#preparing;
    this.#preparing = [];
    for (const transfer of waiting) this.#refuse(transfer, errno);
  }

  /** From now on this node has data that the other lacks: its localcnt says so, durably. */
  #raiseLocalcnt(): void {
    if (this.#raised) return;
    this.#raised = true;
    this.#raising = true;
    const localcnt = this.metadata.localcnt + 1n;
    this.#env.log.debug(1, `Increasing localcnt to ${localcnt}.`);
    this.#updateMetadata({ localcnt }, (errno) => {
      this.#raising = false;
      if (errno !== 0) this.#raised = false;
      const acknowledge = this.#awaitingCounters;
      this.#awaitingCounters = [];
      for (const transfer of acknowledge) {
        if (errno !== 0 && transfer.localErrno === 0) transfer.localErrno = errno;
        this.#settle(transfer);
      }
      if (errno !== 0) this.#failPreparing(errno);
      else this.#resumePreparing();
    });
  }

  #updateMetadata(change: Partial<Metadata>, done: (errno: number) => void): void {
    this.#metadata.update({ ...change, prevrole: "primary" }, (errno) => {
      if (errno !== 0) this.#env.log.error(`Unable to write metadata: ${strerror(errno)}.`);
      done(errno);
    });
  }

  // ---- the link ----

  /**
   * What to say in the second step of the handshake, once it is durable.
   *
   * @param done Called with the counters, or with undefined if the metadata cannot be written.
   */
  prepareHello(done: (hello: PrimaryHello | undefined) => void): void {
    const answer = (errno: number) => done(errno === 0 ? this.#hello() : undefined);
    if (this.metadata.resuid !== 0n) {
      this.#metadata.whenSettled(answer);
      return;
    }
    this.#drewResuid = true;
    this.#updateMetadata({ resuid: this.#env.randomResuid() }, answer);
  }

  #hello(): PrimaryHello {
    const { resuid, localcnt, remotecnt } = this.metadata;
    const untouched = !this.#everWritten && !this.#everLinked && localcnt === 0n;
    return { resuid, localcnt, remotecnt, virgin: this.#drewResuid && untouched };
  }

  /**
   * A secondary has accepted what {@link prepareHello} said. The link is in use once its map is
   * merged and stored.
   *
   * @returns undefined, or why the link must be closed instead (and may be dialed again at once).
   */
  linkUp(link: PeerLink, hello: PrimaryHello, answer: PeerAnswer): string | undefined {
    const now = this.#hello();
    if (!this.#metadata.settled || now.localcnt !== hello.localcnt || now.virgin !== hello.virgin) {
      return "the counters have changed during the handshake";
    }
    if (answer.syncSource === "secondary" && this.#raised) {
      return "both nodes have taken writes alone";
    }
    this.#joining = { link, answer };
    this.#everLinked = true;
    this.#peerLocalcnt = answer.localcnt;
    this.#peerRemotecnt = answer.remotecnt;
    this.#mergeAnswer(answer);
    if (!this.#outOfService) this.#mapWriter.kick();
    if (answer.virgin && this.metadata.localcnt === 0n) {
      this.#updateMetadata({ localcnt: 1n }, () => this.#tryJoin());
    } else this.#tryJoin();
    return undefined;
  }

  #mergeAnswer({ map, syncSource }: PeerAnswer): void {
    if (syncSource === "primary") this.#activemap.merge(map, "peer");
    else {
      // Once behind, this node has noted since then which side lacks what.
      this.#activemap.merge(map, "local", this.#behind);
      this.#behind = true;
    }
  }

  #tryJoin(): void {
    const joining = this.#joining;
    if (joining === undefined || this.#mapWriter.busy || !this.#metadata.settled) return;
    if (this.#activemap.changed && !this.#outOfService) {
      this.#mapWriter.kick();
      return;
    }
    this.#joining = undefined;
    this.#remote.connect(joining.link);
    this.#env.events.connected();
    if (joining.answer.syncSource === "secondary") this.#claim = "done";
    else if (this.#outOfService && this.#peerCanServe) this.#askClaim();
    else if (this.#outOfService) this.attach();
    else this.#behind = false;
    this.#sync.start(joining.link);
    this.#releaseHeld();
  }

  #leaveJoin(reason: string): void {
    const joining = this.#joining;
    if (joining === undefined) return;
    this.#joining = undefined;
    this.#env.log.error(`Cannot use the connection: ${reason}.`);
    joining.link.close();
    this.#releaseHeld();
  }

  #releaseHeld(): void {
    const held = this.#held;
    this.#held = [];
    for (const transfer of held) {
      if (transfer.kind === "read") this.#startRead(transfer);
      else this.lockGranted(transfer);
    }
  }

  /** The link is gone. What was asked through it fails, and is marked for synchronisation. */
  linkLost(link: PeerLink): void {
    if (this.#joining?.link === link) {
      this.#joining = undefined;
      this.#releaseHeld();
      return;
    }
    if (this.#remote.link !== link) return;
    this.#finalFlush = undefined;
    this.#activemap.markUnflushedStale("peer");
    const interrupted = this.#sync.stop();
    this.#remote.disconnect();
    this.#env.events.disconnected();
    if (interrupted) this.#env.events.syncInterrupted();
  }

  /** @returns whether the reply answers something that was asked; else the peer is wrong. */
  remoteReply(link: PeerLink, seq: number, received: boolean, errno: number): boolean {
    return this.#remote.reply(link, seq, received, errno);
  }

  /** Where the data of a reply to a READ goes, or undefined if nothing was asked so. */
  readTarget(link: PeerLink, seq: number): RemoteRequest | undefined {
    const piece = this.#remote.find(link, seq);
    return piece?.command === RemoteCommand.read ? piece : undefined;
  }

  // ---- the end of a synchronisation ----

  /** No extent is stale any more. What was copied counts once both nodes have flushed it. */
  #allCopied(copiedBytes: number): void {
    if (copiedBytes === 0) {
      this.#inSync();
      return;
    }
    this.#finalFlush = this.#flushBoth();
  }

  #finalFlushed(succeeded: boolean): void {
    if (this.#remote.link === undefined) return;
    if (succeeded && this.#activemap.staleCount === 0) this.#inSync();
    else this.#sync.resume();
  }

  /** Both nodes hold the same: from now on each knows the other's localcnt. */
  #inSync(): void {
    this.#raised = false;
    this.#behind = false;
    this.#claim = "none";
    const localcnt = this.#peerRemotecnt;
    const remotecnt = this.#peerLocalcnt;
    if (this.metadata.localcnt !== localcnt || this.metadata.remotecnt !== remotecnt) {
      this.#env.log.debug(1, `Setting localcnt to ${localcnt} and remotecnt to ${remotecnt}.`);
      this.#updateMetadata({ localcnt, remotecnt }, () => {});
    }
    this.#mapWriter.kick();
    if (this.#sync.finish()) this.#env.events.syncDone();
  }

  // ---- accounting ----

  #count(command: UserCommand): void {
    if (command === UserCommand.read) this.statistics.reads++;
    else if (command === UserCommand.flush) this.statistics.flushes++;
    else if (command === UserCommand.delete) this.statistics.deletes++;
    else this.statistics.writes++;
  }

  #countError(kind: TransferKind): void {
    if (kind === "read") this.statistics.readErrors++;
    else if (kind === "flush") this.statistics.flushErrors++;
    else if (kind === "delete") this.statistics.deleteErrors++;
    else this.statistics.writeErrors++;
  }

  #warnOnce(topic: string, message: string): void {
    if (this.#warned.has(topic)) return;
    this.#warned.add(topic);
    this.#env.log.warning(message);
  }
}

function describe(transfer: Transfer): string {
  const { kind, dataOffsetBytes, lengthBytes } = transfer;
  return kind === "flush"
    ? "FLUSH"
    : `${kind.toUpperCase()}(offset=${dataOffsetBytes}, length=${lengthBytes})`;
}
