/**
 * The data thread of a primary: the core between the NBD front, the component and the link.
 *
 * Source: replication.md; control.md for what is logged.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { EX } from "../base/errors.ts";
import type { ResourceConfig } from "../conf/config.ts";
import { Primary, type PrimaryConfig } from "../core/primary.ts";
import { BOTH_TOOK_WRITES } from "../core/counters.ts";
import { type PrimaryHello, SPLIT_BRAIN_MESSAGE } from "../core/sync_decision.ts";
import { bytesAt, releasePages } from "../ffi/memory.ts";
import { closeSocket } from "../ffi/socket.ts";
import type { BlockTarget } from "./block_target.ts";
import type { Redial } from "./connector.ts";
import { FrontNbd } from "./front_nbd.ts";
import { SocketPeerLink } from "./peer_link.ts";
import { primaryCiphers } from "./session_line.ts";
import type { SyncStatus, WorkerStatus } from "./worker_channel.ts";
import type { EstablishedLine, HelloLine, ToDataThread } from "./worker_messages.ts";
import { commonStatus, type RoleEnv, type WorkerRole } from "./worker_role.ts";

/** When the worker is to end, the other node has so long to answer what it was sent. */
export const STOP_LINK_MS = 2_000;
/** And clients have so long to take their last answers. */
export const STOP_MS = 4_000;
/** How often is looked whether everything has ended. */
const STOP_TICK_MS = 10;

/** See the module. */
export class PrimaryRole implements WorkerRole {
  readonly #env: RoleEnv;
  readonly #primary: Primary;
  readonly #front: FrontNbd;
  #config: ResourceConfig;
  #link: SocketPeerLink | undefined = undefined;
  #remoteAddress: string;
  #wasConnected = false;
  #stopping = false;

  constructor(env: RoleEnv) {
    this.#env = env;
    this.#config = env.start.resource;
    this.#remoteAddress = this.#config.remoteAddress;
    const { metadata, map } = env.opened;
    this.#primary = new Primary(metadata, map, coreConfig(this.#config), {
      disk: env.disk,
      buffers: env.arena,
      timers: env.reactor,
      log: env.log,
      events: {
        connected: () => this.#connected(),
        disconnected: () => this.#disconnected(),
        syncStarted: () => env.tell({ type: "event", event: "syncstart" }),
        syncDone: () => env.tell({ type: "event", event: "syncdone" }),
        syncInterrupted: () => env.tell({ type: "event", event: "syncintr" }),
        localFailed: () => env.tell({ type: "event", event: "localfail" }),
      },
      nowMs: () => env.reactor.nowMs,
      randomResuid,
    });
    this.#front = new FrontNbd({
      name: this.#config.name,
      description: `HAST resource ${this.#config.name}`,
      target: targetOf(this.#primary, env),
      reactor: env.reactor,
      buffers: env.arena,
      log: env.log,
    });
  }

  command(command: ToDataThread): void {
    switch (command.type) {
      case "hello":
        this.#primary.prepareHello((hello) => this.#env.post({ type: "hello", hello }));
        break;
      case "established":
        this.#take(command.established);
        break;
      case "client":
        if (this.#stopping) closeSocket(command.fd);
        else this.#front.addConnection(command.fd);
        break;
      case "status":
        this.#env.tell({ type: "status", id: command.id, status: this.#status() });
        break;
      case "reload":
        this.#reload(command.resource);
        break;
      case "attach":
        this.#attach(command.id);
        break;
      case "stop":
        this.#stop();
        break;
    }
  }

  // ---- the link ----

  #take(established: EstablishedLine): void {
    const map = takeMap(established);
    if (this.#stopping || this.#link !== undefined) {
      closeSocket(established.requestsFd);
      closeSocket(established.repliesFd);
      return;
    }
    this.#remoteAddress = established.remoteAddress;
    const link = this.#makeLink(established);
    this.#link = link;
    const { localcnt, remotecnt, virgin, syncSource } = established;
    const refusal = this.#primary.linkUp(link, helloOf(established.hello), {
      localcnt: BigInt(localcnt),
      remotecnt: BigInt(remotecnt),
      virgin,
      syncSource,
      map,
    });
    if (refusal === undefined) return;
    this.#env.log.info(`Dropped a new connection to ${this.#remoteAddress}: ${refusal}.`);
    if (refusal === BOTH_TOOK_WRITES) this.#forgetLink(link, "later", SPLIT_BRAIN_MESSAGE);
    else this.#forgetLink(link, "now");
    link.close();
  }

  #makeLink(established: EstablishedLine): SocketPeerLink {
    const { reactor, arena, log } = this.#env;
    const { checksum, compression, timeoutSeconds } = this.#config;
    const { session, answerRecords } = established;
    if (session !== undefined) log.debug(1, `Records are sealed with ${session.cipher}.`);
    const link: SocketPeerLink = new SocketPeerLink({
      requestsFd: established.requestsFd,
      repliesFd: established.repliesFd,
      requestBytesMax: established.requestBytesMax,
      protocolVersion: established.version,
      takesClaims: established.takesClaims,
      stages: { checksum, compression },
      timeoutMs: timeoutSeconds * 1000,
      reactor,
      buffers: arena,
      ciphers: session && primaryCiphers(session, answerRecords),
      log,
      owner: this.#primary,
      closed: () => this.#forgetLink(link, "soon"),
    });
    return link;
  }

  #forgetLink(link: SocketPeerLink, redial: Redial, refusal?: string): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    this.#env.post({ type: "linkLost", redial, refusal });
  }

  #dropLink(): void {
    const link = this.#link;
    if (link === undefined) return;
    link.close();
    this.#primary.linkLost(link);
  }

  #connected(): void {
    const what = this.#wasConnected ? "Successfully reconnected" : "Connected";
    this.#wasConnected = true;
    this.#env.log.info(`${what} to ${this.#remoteAddress}.`);
    this.#env.tell({ type: "event", event: "connect" });
  }

  #disconnected(): void {
    this.#env.log.warning(`Disconnected from ${this.#remoteAddress}.`);
    this.#env.tell({ type: "event", event: "disconnect" });
  }

  // ---- the configuration ----

  #reload(config: ResourceConfig): void {
    const before = this.#config;
    this.#config = config;
    this.#primary.reconfigure(coreConfig(config));
    const { checksum, compression, timeoutSeconds } = config;
    this.#link?.reconfigure({ checksum, compression }, timeoutSeconds * 1000);
    const moved = before.remoteAddress !== config.remoteAddress ||
      before.sourceAddress !== config.sourceAddress ||
      before.secretPaths.join(" ") !== config.secretPaths.join(" ");
    if (moved) this.#dropLink();
  }

  #attach(id: number): void {
    const wasOutOfService = this.#primary.outOfService;
    this.#primary.proveComponent((errno) => {
      if (errno === 0) this.#primary.attach();
      this.#env.tell({ type: "attached", id, wasOutOfService, errno });
    });
  }

  // ---- figures ----

  #status(): WorkerStatus {
    const primary = this.#primary;
    const { activemap } = primary;
    const status = commonStatus(this.#env, primary.statistics, {
      local: this.#env.disk.pendingCount,
      send: 0,
      recv: primary.remotePendingCount,
      inFlight: primary.inFlightCount,
    });
    const { resuid, localcnt, remotecnt } = primary.metadata;
    return {
      ...status,
      connected: primary.connected,
      dirtyBytes: activemap.dirtyBytes,
      activemapUpdates: primary.activemapWrites,
      localComponent: {
        inService: !primary.outOfService,
        errno: primary.outOfService ? ERRNO.EIO : 0,
      },
      staleBytes: activemap.staleBytes,
      sync: syncStatus(primary),
      resuid: String(resuid),
      localcnt: String(localcnt),
      remotecnt: String(remotecnt),
    };
  }

  // ---- the end ----

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    const { reactor } = this.#env;
    const startMs = reactor.nowMs;
    let clientsGone = false;
    this.#front.shutdown(() => clientsGone = true);
    const look = () => {
      const tookMs = reactor.nowMs - startMs;
      if (this.#link !== undefined && tookMs >= STOP_LINK_MS) this.#dropLink();
      const settled = this.#primary.inFlightCount === 0 && this.#env.disk.pendingCount === 0;
      if ((settled && clientsGone) || tookMs >= STOP_MS) this.#finish();
      else reactor.setTimer(STOP_TICK_MS, look);
    };
    look();
  }

  #finish(): void {
    this.#front.close();
    this.#link?.close();
    this.#env.end(EX.ok);
  }
}

function coreConfig(config: ResourceConfig): PrimaryConfig {
  const { replication, metaflush, syncRateBytesPerSecond } = config;
  return { replication, metaflush, syncRateBytesPerSecond };
}

function targetOf(primary: Primary, { opened }: RoleEnv): BlockTarget {
  return {
    sizeBytes: opened.metadata.datasizeBytes,
    sectorBytes: opened.component.sectorSizeBytes,
    fastZero: opened.component.kind === "file",
    submit: (request) => primary.submit(request),
  };
}

function randomResuid(): bigint {
  for (;;) {
    const [value = 0n] = crypto.getRandomValues(new BigUint64Array(1));
    if (value !== 0n) return value;
  }
}

function helloOf(line: HelloLine): PrimaryHello {
  return {
    virgin: line.virgin,
    resuid: BigInt(line.resuid),
    localcnt: BigInt(line.localcnt),
    remotecnt: BigInt(line.remotecnt),
  };
}

/** The secondary's map, out of the pages in which it came. */
function takeMap({ map }: EstablishedLine): Uint8Array | undefined {
  if (map === undefined) return undefined;
  const address = BigInt(map.address);
  const bytes = bytesAt(address, map.byteCount);
  const copy = bytes.slice();
  releasePages({ bytes, address });
  return copy;
}

function syncStatus(primary: Primary): SyncStatus | undefined {
  const { active, progress } = primary.synchroniser;
  const { totalBytes, copiedBytes, elapsedMs } = progress;
  if (!active && totalBytes === 0) return undefined;
  const { activemap } = primary;
  const toPeer = activemap.anyStale("peer");
  const fromPeer = activemap.anyStale("local");
  const bytesPerSecond = elapsedMs > 0 ? Math.round(copiedBytes * 1000 / elapsedMs) : 0;
  const leftBytes = activemap.staleBytes;
  return {
    active,
    direction: toPeer && fromPeer ? "both" : fromPeer ? "from-peer" : "to-peer",
    totalBytes,
    copiedBytes,
    bytesPerSecond,
    secondsLeft: bytesPerSecond > 0 ? Math.ceil(leftBytes / bytesPerSecond) : undefined,
  };
}
