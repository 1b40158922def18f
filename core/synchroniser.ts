/**
 * Synchronisation: copies every stale extent from the side that has it to the side that lacks it.
 *
 * Many blocks are in flight, bounded by a window in bytes; each holds its range for as long as it
 * is, so that no user's write is overtaken. An extent counts as synchronised only if all of its
 * blocks arrived and nothing failed in it meanwhile.
 *
 * Source: replication.md (synchronisation; weaknesses 5 and 6).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import { humanize } from "../base/units.ts";
import { isAllZero } from "../protocol/payload.ts";
import type { Activemap } from "./activemap.ts";
import {
  type BufferPool,
  type Disk,
  DiskOp,
  type PeerLink,
  RemoteCommand,
  type Timers,
} from "./ports.ts";
import type { RangeLock } from "./range_lock.ts";
import { RATE_SLICE_MS, RateLimit } from "./rate_limit.ts";
import type { RemoteSide } from "./remote_side.ts";
import { SyncBlock, type SyncBlockEngine } from "./sync_block.ts";

/** Bytes on their way at the same time: enough for a long, fast line. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** The same while users work: what a request of theirs may find queued before it. */
const WINDOW_BYTES_BUSY = 1024 * 1024;
/** Blocks are at most this large, whatever the peer takes. */
const BLOCK_BYTES_MAX = 1024 * 1024;
/** After this time extents that failed are tried again. */
const RETRY_MS = 10_000;

export interface SynchroniserEnv {
  readonly disk: Disk;
  readonly buffers: BufferPool;
  readonly timers: Timers;
  readonly nowMs: () => number;
  readonly log: Log;
  readonly activemap: Activemap;
  readonly lock: RangeLock;
  readonly remote: RemoteSide;
  readonly dataOffsetBytes: number;
  readonly datasizeBytes: number;
  readonly extentsizeBytes: number;
  /** Whether the local component takes writes. */
  readonly localWritable: () => boolean;
  /** Whether a user's request is in flight, or has been a moment ago. */
  readonly userBusy: () => boolean;
  /** Limit of the rate, 0 for none. */
  readonly rateBytesPerSecond: () => number;
  /** There is something to do. */
  readonly started: () => void;
  /** An extent is synchronised, but neither node has flushed it. */
  readonly synchronised: () => void;
  /** Nothing is stale any more; so many bytes were copied since `start`. */
  readonly copied: (copiedBytes: number) => void;
}

/** An extent some of whose blocks are in flight. */
interface OpenExtent {
  nextBytes: number;
  endBytes: number;
  blocksInFlight: number;
  /** It does not count: something of it failed here, or to a user. */
  failed: boolean;
  /** A block could not be copied though the link stands: it is left alone for a while. */
  broken: boolean;
}

/** What there is to show of a synchronisation under way. */
export interface SyncProgress {
  totalBytes: number;
  copiedBytes: number;
  elapsedMs: number;
}

export class Synchroniser implements SyncBlockEngine {
  readonly #env: SynchroniserEnv;
  readonly #open = new Map<number, OpenExtent>();
  /** Extents that failed; left alone until the retry. */
  readonly #failed = new Set<number>();
  readonly #free: SyncBlock[] = [];
  #link: PeerLink | undefined = undefined;
  /** The extent whose blocks are being issued. */
  #current: number | undefined = undefined;
  #cursor = 0;
  #inFlightBytes = 0;
  #active = false;
  /** `copied` was called; nothing more to do unless something becomes stale again. */
  #handedOver = false;
  #totalBytes = 0;
  #copiedBytes = 0;
  #startedMs = 0;
  #timer = 0;
  readonly #rate = new RateLimit();

  constructor(env: SynchroniserEnv) {
    this.#env = env;
  }

  /** Something is being copied, or has been and is not yet flushed. */
  get active(): boolean {
    return this.#active;
  }

  get progress(): SyncProgress {
    return {
      totalBytes: Math.max(this.#totalBytes, this.#copiedBytes),
      copiedBytes: this.#copiedBytes,
      elapsedMs: this.#active ? this.#env.nowMs() - this.#startedMs : 0,
    };
  }

  /** A link has come up: copies what is stale. */
  start(link: PeerLink): void {
    this.#link = link;
    this.#cursor = 0;
    this.#current = undefined;
    this.#copiedBytes = 0;
    this.#totalBytes = this.#env.activemap.staleBytes;
    this.#failed.clear();
    if (this.#env.activemap.staleCount === 0) {
      this.#env.log.info("Nodes are in sync.");
      this.#env.log.debug(1, "Nothing to synchronize.");
    }
    this.#begin();
  }

  /** Something became stale after all, or a flush failed: goes on. */
  resume(): void {
    if (this.#link === undefined) return;
    if (!this.#active) this.#totalBytes = this.#copiedBytes + this.#env.activemap.staleBytes;
    this.#begin();
  }

  #begin(): void {
    this.#handedOver = false;
    if (this.#env.activemap.staleCount === 0) {
      this.#passOver();
      return;
    }
    if (!this.#active) {
      this.#active = true;
      this.#startedMs = this.#env.nowMs();
      this.#rate.begin(this.#startedMs);
      this.#env.log.info(
        `Synchronization started. ${humanize(this.#env.activemap.staleBytes)} to go.`,
      );
      this.#env.started();
    }
    this.#pump();
  }

  /**
   * The link is lost. What is in flight fails by itself.
   *
   * @returns whether a synchronisation was interrupted.
   */
  stop(): boolean {
    this.#link = undefined;
    this.#current = undefined;
    for (const [extent, open] of this.#open) {
      open.failed = true;
      if (open.blocksInFlight === 0) this.#open.delete(extent);
    }
    this.#env.timers.clearTimer(this.#timer);
    this.#timer = 0;
    if (!this.#active) return false;
    this.#active = false;
    this.#env.log.info(
      `Synchronization interrupted. ${humanize(this.#env.activemap.staleBytes)} to go.`,
    );
    return true;
  }

  /**
   * Everything copied is flushed on both nodes.
   *
   * @returns whether there was a synchronisation.
   */
  finish(): boolean {
    if (!this.#active) return false;
    this.#active = false;
    const seconds = Math.max(1, Math.round((this.#env.nowMs() - this.#startedMs) / 1000));
    const copied = this.#copiedBytes;
    this.#env.log.info(
      `Synchronization complete. ${humanize(copied)} synchronized in ${seconds}s ` +
        `(${humanize(Math.round(copied / seconds))}/sec).`,
    );
    return true;
  }

  /** A request failed on one side of this range: what was copied of it does not count. */
  invalidate(offsetBytes: number, lengthBytes: number): void {
    const first = this.#env.activemap.firstExtent(offsetBytes);
    const last = this.#env.activemap.lastExtent(offsetBytes, lengthBytes);
    for (const [extent, open] of this.#open) {
      if (extent >= first && extent <= last) open.failed = true;
    }
  }

  /** Something became stale though the link stands: it is tried again after a while. */
  noteStale(): void {
    if (this.#link !== undefined && !this.#active && this.#timer === 0) this.#complain();
  }

  // ---- issuing blocks ----

  #pump(): void {
    const link = this.#link;
    if (link === undefined || !this.#active) return;
    const windowBytes = this.#env.userBusy() ? WINDOW_BYTES_BUSY : WINDOW_BYTES;
    while (this.#inFlightBytes < windowBytes && this.#withinRate()) {
      const extent = this.#current ?? this.#nextExtent();
      if (extent === undefined) break;
      this.#issue(extent, link);
      if (this.#link !== link) return;
    }
    if (this.#inFlightBytes === 0 && this.#current === undefined) this.#passOver();
  }

  #nextExtent(): number | undefined {
    const { activemap } = this.#env;
    for (let wrapped = 0; wrapped < 2; wrapped++) {
      for (let e = activemap.nextStale(this.#cursor); e >= 0; e = activemap.nextStale(e + 1)) {
        this.#cursor = e + 1;
        if (this.#open.has(e) || this.#failed.has(e)) continue;
        if (!this.#env.localWritable() && activemap.isStale(e, "local")) continue;
        this.#open.set(e, this.#openExtent(e));
        this.#current = e;
        return e;
      }
      this.#cursor = 0;
    }
    return undefined;
  }

  #openExtent(extent: number): OpenExtent {
    const nextBytes = extent * this.#env.extentsizeBytes;
    const endBytes = Math.min(nextBytes + this.#env.extentsizeBytes, this.#env.datasizeBytes);
    return { nextBytes, endBytes, blocksInFlight: 0, failed: false, broken: false };
  }

  #issue(extent: number, link: PeerLink): void {
    const open = this.#open.get(extent);
    if (open === undefined) return;
    const block = this.#free.pop() ?? new SyncBlock(this);
    block.extent = extent;
    block.link = link;
    block.dataOffsetBytes = open.nextBytes;
    block.lengthBytes = Math.min(
      open.endBytes - open.nextBytes,
      link.requestBytesMax,
      BLOCK_BYTES_MAX,
    );
    open.nextBytes += block.lengthBytes;
    open.blocksInFlight++;
    this.#inFlightBytes += block.lengthBytes;
    this.#rate.take(block.lengthBytes);
    if (open.nextBytes >= open.endBytes) this.#current = undefined;
    if (this.#env.lock.acquire(block, block.dataOffsetBytes, block.lengthBytes)) {
      this.blockLocked(block);
    }
  }

  /** Whether the limit of the rate allows another block now; else comes back when it does. */
  #withinRate(): boolean {
    if (this.#rate.allows(this.#env.rateBytesPerSecond(), this.#env.nowMs())) return true;
    if (this.#timer === 0) this.#pumpLater(RATE_SLICE_MS);
    return false;
  }

  #pumpLater(delayMs: number): void {
    this.#timer = this.#env.timers.setTimer(delayMs, () => {
      this.#timer = 0;
      this.#pump();
    });
  }

  // ---- one block ----

  blockLocked(block: SyncBlock): void {
    if (block.link !== this.#link) {
      this.#blockOver(block, ERRNO.ENOTCONN);
      return;
    }
    block.buffer = this.#env.buffers.take(block.lengthBytes);
    block.fromPeer = this.#env.activemap.isStale(block.extent, "local");
    if (block.fromPeer) this.#ask(block, RemoteCommand.read);
    else this.#submit(block, DiskOp.read);
  }

  #submit(block: SyncBlock, op: DiskOp): void {
    block.op = op;
    block.offsetBytes = this.#env.dataOffsetBytes + block.dataOffsetBytes;
    this.#env.disk.submit(block);
  }

  #ask(block: SyncBlock, command: RemoteCommand): void {
    const { remote } = this.#env;
    const piece = remote.prepare(command, block);
    piece.offsetBytes = block.dataOffsetBytes;
    piece.lengthBytes = block.lengthBytes;
    piece.buffer = block.buffer;
    piece.zeros = command === RemoteCommand.write && holdsZeros(block);
    remote.send(piece);
  }

  blockOnDisk(block: SyncBlock, errno: number): void {
    if (errno !== 0 || block.fromPeer) this.#blockOver(block, errno);
    else if (block.link !== this.#link) this.#blockOver(block, ERRNO.ENOTCONN);
    else this.#ask(block, RemoteCommand.write);
  }

  blockAtPeer(block: SyncBlock, errno: number): void {
    if (errno !== 0 || !block.fromPeer) this.#blockOver(block, errno);
    else if (block.link !== this.#link) this.#blockOver(block, ERRNO.ENOTCONN);
    else this.#submit(block, holdsZeros(block) ? DiskOp.zero : DiskOp.write);
  }

  #blockOver(block: SyncBlock, errno: number): void {
    const { extent, lengthBytes } = block;
    this.#inFlightBytes -= lengthBytes;
    if (block.buffer !== undefined) this.#env.buffers.give(block.buffer);
    block.buffer = undefined;
    const current = block.link === this.#link;
    this.#env.lock.release(block);
    this.#free.push(block);
    const open = this.#open.get(extent);
    if (open !== undefined) {
      open.blocksInFlight--;
      if (errno === 0) this.#copiedBytes += lengthBytes;
      else {
        open.failed = true;
        if (current) open.broken = true;
      }
      if (open.blocksInFlight === 0) this.#maybeClose(extent, open);
    }
    this.#pump();
  }

  #maybeClose(extent: number, open: OpenExtent): void {
    const issuing = this.#current === extent;
    if (issuing && !open.failed) return;
    if (issuing) this.#current = undefined;
    this.#open.delete(extent);
    if (open.failed) {
      if (open.broken) this.#failed.add(extent);
      return;
    }
    this.#env.activemap.markSynchronised(extent);
    this.#env.synchronised();
  }

  /** All that could be copied has been. */
  #passOver(): void {
    if (this.#env.activemap.staleCount > 0) {
      if (this.#timer === 0) this.#complain();
      return;
    }
    if (this.#handedOver) return;
    this.#handedOver = true;
    this.#env.copied(this.#copiedBytes);
  }

  #complain(): void {
    this.#env.log.warning(
      `Unable to synchronize ${humanize(this.#env.activemap.staleBytes)}, ` +
        `trying again in ${RETRY_MS / 1000}s.`,
    );
    this.retryLater();
  }

  /** Goes on after a while: something that it takes has failed. */
  retryLater(): void {
    if (this.#timer !== 0) return;
    this.#timer = this.#env.timers.setTimer(RETRY_MS, () => {
      this.#timer = 0;
      this.#failed.clear();
      this.resume();
    });
  }
}

/** A block of zeros travels as a hole and is punched, whatever the compression of the users' data. */
function holdsZeros({ buffer, lengthBytes }: SyncBlock): boolean {
  return buffer !== undefined && isAllZero(buffer.bytes.subarray(0, lengthBytes));
}
