/**
 * The primary: takes the user's requests to both components and keeps account of what may differ.
 *
 * It is driven by calls from one thread and answers through the ports of its environment; it has
 * no clock, does no I/O and never waits. This file puts its parts together and takes the events
 * of disk and link to them; what happens to a request stands in `request_path.ts`.
 *
 * Source: replication.md.
 * @module
 */
import { strerror } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import type { ReplicationMode } from "../conf/config.ts";
import { type Metadata, METADATA_BYTES } from "../protocol/metadata.ts";
import { Activemap } from "./activemap.ts";
import { PrimaryCounters } from "./counters.ts";
import { Flusher } from "./flusher.ts";
import { Joining } from "./joining.ts";
import { LocalService } from "./local_service.ts";
import { MapWriter } from "./map_writer.ts";
import { MetadataStore } from "./metadata_store.ts";
import {
  type BufferPool,
  type Disk,
  type PeerLink,
  RemoteCommand,
  type RemoteRequest,
  type Timers,
} from "./ports.ts";
import { RangeLock } from "./range_lock.ts";
import { RemoteParts } from "./remote_part.ts";
import { RemoteSide } from "./remote_side.ts";
import type { UserRequest } from "./request.ts";
import { RequestPath } from "./request_path.ts";
import { type IoStatistics, newStatistics } from "./statistics.ts";
import type { PeerAnswer, PrimaryHello, SyncSource } from "./sync_decision.ts";
import { Synchroniser } from "./synchroniser.ts";

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

/** A user who waits for one answer before the next request is busy in between, too. */
const USER_BUSY_MS = 100;

export class Primary {
  readonly #env: PrimaryEnv;
  readonly #activemap: Activemap;
  readonly #mapWriter: MapWriter;
  readonly #metadata: MetadataStore;
  readonly #remote = new RemoteSide();
  readonly #lock = new RangeLock();
  readonly #sync: Synchroniser;
  readonly #counters: PrimaryCounters;
  readonly #service: LocalService;
  readonly #joining: Joining;
  readonly #flusher: Flusher;
  readonly #path: RequestPath;
  readonly statistics: IoStatistics = newStatistics();
  #config: PrimaryConfig;
  /** When a user's request came last. */
  #submittedMs = -Infinity;

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
      buffer: env.buffers.take(METADATA_BYTES),
    });
    this.#mapWriter = new MapWriter({
      disk: env.disk,
      activemap: this.#activemap,
      snapshot: env.buffers.take(map.length),
      mapOffsetBytes: metadata.dataOffsetBytes - map.length,
      metaflush: () => this.#config.metaflush,
      written: (errno) => this.#mapWritten(errno),
    });
    this.#sync = this.#newSynchroniser(metadata);
    this.#counters = new PrimaryCounters({
      store: this.#metadata,
      log: env.log,
      blank: this.#activemap.dirtyCount === 0,
      randomResuid: env.randomResuid,
      raised: (errno) => this.#path.countersRaised(errno),
    });
    this.#service = new LocalService({
      log: env.log,
      activemap: this.#activemap,
      counters: this.#counters,
      remote: this.#remote,
      failed: () => env.events.localFailed(),
      settle: (transfer) => this.#path.settle(transfer),
    });
    this.#joining = new Joining({
      log: env.log,
      activemap: this.#activemap,
      mapWriter: this.#mapWriter,
      counters: this.#counters,
      service: this.#service,
      joined: (link, syncSource) => this.#joined(link, syncSource),
      resume: (transfer) => this.#path.lockGranted(transfer),
    });
    this.#flusher = new Flusher({
      activemap: this.#activemap,
      mapWriter: this.#mapWriter,
      remote: this.#remote,
      timers: env.timers,
      flush: () => this.#path.flush(),
      finallyFlushed: (succeeded) => this.#finallyFlushed(succeeded),
    });
    this.#path = this.#newRequestPath(metadata);
  }

  #newSynchroniser(metadata: Metadata): Synchroniser {
    const { disk, buffers, timers, nowMs, log, events } = this.#env;
    return new Synchroniser({
      disk,
      buffers,
      timers,
      nowMs,
      log,
      activemap: this.#activemap,
      lock: this.#lock,
      remote: this.#remote,
      dataOffsetBytes: metadata.dataOffsetBytes,
      datasizeBytes: metadata.datasizeBytes,
      extentsizeBytes: metadata.extentsizeBytes,
      userBusy: () => this.#path.inFlightCount > 0 || nowMs() - this.#submittedMs < USER_BUSY_MS,
      localWritable: () => !this.#service.out,
      rateBytesPerSecond: () => this.#config.syncRateBytesPerSecond,
      started: () => events.syncStarted(),
      // Flushed now and then, or an interruption would undo all of it.
      synchronised: () => this.#flusher.schedule(),
      copied: (bytes) => bytes === 0 ? this.#inSync() : this.#flusher.flushFinally(),
    });
  }

  #newRequestPath(metadata: Metadata): RequestPath {
    const { disk, buffers, log } = this.#env;
    return new RequestPath({
      disk,
      buffers,
      log,
      dataOffsetBytes: metadata.dataOffsetBytes,
      datasizeBytes: metadata.datasizeBytes,
      activemap: this.#activemap,
      mapWriter: this.#mapWriter,
      lock: this.#lock,
      remote: this.#remote,
      remoteParts: new RemoteParts({
        log,
        remote: this.#remote,
        service: this.#service,
        mode: () => this.#config.replication,
      }),
      counters: this.#counters,
      service: this.#service,
      joining: this.#joining,
      flusher: this.#flusher,
      sync: this.#sync,
      statistics: this.statistics,
    });
  }

  // ---- state, for status and list ----

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
    return this.#service.out;
  }

  /** User requests that are not over on both nodes. */
  get inFlightCount(): number {
    return this.#path.inFlightCount;
  }

  get remotePendingCount(): number {
    return this.#remote.pendingCount;
  }

  // ---- the user and the administrator ----

  /** Takes a request of the front; `request.completed` is called when it is done. */
  submit(request: UserRequest): void {
    this.#submittedMs = this.#env.nowMs();
    this.#path.submit(request);
  }

  /** Applies to requests that come from now on. */
  reconfigure(config: PrimaryConfig): void {
    this.#config = config;
  }

  /**
   * Takes the component back into service after it has been repaired: what it lacks is copied
   * from the other node.
   *
   * @returns whether it was out of service.
   */
  attach(): boolean {
    if (!this.#service.putBack()) return false;
    this.#mapWriter.kick();
    this.#sync.resume();
    return true;
  }

  /** Whether the component can be written at all: 0, or what a write of its metadata failed with. */
  proveComponent(done: (errno: number) => void): void {
    this.#counters.rewrite(done);
  }

  // ---- the map on disk ----

  #mapWritten(errno: number): void {
    if (errno !== 0) this.#mapFailed(errno);
    else {
      this.#joining.tryJoin();
      this.#path.resumePreparing();
    }
    const wanted = this.#path.preparing || this.#joining.busy;
    if (wanted && !this.#service.out) this.#mapWriter.kick();
  }

  #mapFailed(errno: number): void {
    this.#env.log.error(`Unable to write activemap to disk: ${strerror(errno)}.`);
    this.#service.takeOut();
    if (this.#service.out) this.#path.resumePreparing();
    else this.#path.failPreparing(errno);
    this.#joining.giveUp("the activemap cannot be stored");
  }

  // ---- the link ----

  /**
   * What to say in the second step of the handshake, once it is durable.
   *
   * @param done Called with the counters, or with undefined if the metadata cannot be written.
   */
  prepareHello(done: (hello: PrimaryHello | undefined) => void): void {
    this.#counters.prepareHello(done);
  }

  /**
   * A secondary has accepted what {@link prepareHello} said. The link is in use once its map is
   * merged and stored.
   *
   * @returns undefined, or why the link must be closed instead (and may be dialed again at once).
   */
  linkUp(link: PeerLink, hello: PrimaryHello, answer: PeerAnswer): string | undefined {
    const objection = this.#counters.objectionTo(hello, answer);
    if (objection === undefined) this.#joining.begin(link, answer);
    return objection;
  }

  #joined(link: PeerLink, syncSource: SyncSource): void {
    this.#remote.connect(link);
    this.#env.events.connected();
    if (this.#service.linked(syncSource)) this.attach();
    this.#sync.start(link);
  }

  /** The link is gone. What was asked through it fails, and is marked for synchronisation. */
  linkLost(link: PeerLink): void {
    if (this.#joining.linkLost(link) || this.#remote.link !== link) return;
    this.#flusher.linkLost();
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

  /** What was copied counts if both nodes have flushed it and nothing has become stale since. */
  #finallyFlushed(succeeded: boolean): void {
    if (this.#remote.link === undefined) return;
    if (succeeded && this.#activemap.staleCount === 0) this.#inSync();
    else this.#sync.resume();
  }

  /** Both nodes hold the same; that is said once it is on disk, too. */
  #inSync(): void {
    const { link } = this.#remote;
    this.#service.inSync();
    this.#mapWriter.kick();
    this.#counters.inSync((errno) => {
      if (link === undefined || this.#remote.link !== link) return;
      if (errno !== 0) this.#sync.retryLater();
      else if (this.#activemap.staleCount > 0) this.#sync.resume();
      else if (this.#sync.finish()) this.#env.events.syncDone();
    });
  }
}
