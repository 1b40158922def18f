/**
 * The data thread of a secondary: answers the second step of the handshake, then serves one
 * primary until it goes.
 *
 * Source: wire.md (handshake), replication.md (counters), disk.md.
 * @module
 */
import { EX, invariant } from "../base/errors.ts";
import { strerror } from "../base/errno.ts";
import { MetadataStore } from "../core/metadata_store.ts";
import { DiskOp, unlessUnsupported } from "../core/ports.ts";
import { Secondary } from "../core/secondary.ts";
import { decideSync, type PrimaryHello, type SyncDecision } from "../core/sync_decision.ts";
import { setNoDelay } from "../ffi/socket.ts";
import { encodeFrame } from "../protocol/frame.ts";
import {
  encodeSecondAnswer,
  encodeSecondRefusal,
  type SecondaryState,
} from "../protocol/handshake.ts";
import type { Metadata } from "../protocol/metadata.ts";
import { METADATA_BYTES } from "../protocol/metadata.ts";
import { SecondaryLink } from "./secondary_link.ts";
import { secondaryCiphers } from "./session_line.ts";
import type { PeerHello, RefusalReason } from "./worker_channel.ts";
import { storeMap, storeMetadata } from "./worker_component.ts";
import type { ToDataThread } from "./worker_messages.ts";
import { commonStatus, type RoleEnv, takeMapBuffer, type WorkerRole } from "./worker_role.ts";

/** The largest request that we ask for: small enough to be on disk while the next one arrives. */
export const SECONDARY_REQUEST_BYTES = 1024 * 1024;
/** When the worker is to end, the component has so long to finish what it was given. */
export const STOP_MS = 4_000;
const STOP_TICK_MS = 10;

type Accepted = Extract<SyncDecision, { kind: "accept" }>;
type Done = (errno: number) => void;

/** See the module. */
export class SecondaryRole implements WorkerRole {
  readonly #env: RoleEnv;
  readonly #peer: PeerHello;
  readonly #link: SecondaryLink;
  readonly #secondary: Secondary;
  readonly #mapWrites: SerialMapWrites;
  #metadata: Metadata;
  #store: MetadataStore | undefined = undefined;
  #exitCode: number = EX.ok;
  #serving = false;
  #ending = false;

  /** @throws {HastError} The metadata cannot be written. */
  constructor(env: RoleEnv) {
    this.#env = env;
    const { peer, resource } = env.start;
    invariant(peer !== undefined, "a secondary is given its connections");
    this.#peer = peer;
    this.#metadata = env.opened.metadata;
    for (const fd of [peer.incomingFd, peer.outgoingFd]) setNoDelay(fd, true);
    const { checksum, compression } = resource;
    this.#link = new SecondaryLink({
      requestsFd: peer.incomingFd,
      repliesFd: peer.outgoingFd,
      protocolVersion: peer.protocolVersion,
      limits: {
        datasizeBytes: this.#metadata.datasizeBytes,
        sectorSizeBytes: env.opened.component.sectorSizeBytes,
      },
      stages: { checksum, compression },
      ciphers: peer.session && secondaryCiphers(peer.session),
      reactor: env.reactor,
      buffers: env.arena,
      log: env.log,
      ended: () => this.#linkEnded(),
    });
    this.#mapWrites = new SerialMapWrites(env);
    this.#secondary = new Secondary({
      disk: env.disk,
      replies: this.#link,
      log: env.log,
      dataOffsetBytes: this.#metadata.dataOffsetBytes,
      firstRequest: () => this.#clearMap(),
      claim: (done) => this.#claim(done),
    });
    this.#decide();
  }

  command(command: ToDataThread): void {
    switch (command.type) {
      case "status":
        this.#env.tell({ type: "status", id: command.id, status: this.#status() });
        break;
      case "attach":
        this.#env.tell({ type: "attached", id: command.id, wasOutOfService: false, errno: 0 });
        break;
      case "stop":
        this.#link.close();
        this.#end(EX.ok);
        break;
      default: // The rest is for a primary.
        break;
    }
  }

  // ---- the handshake ----

  #decide(): void {
    const decision = decideSync(this.#metadata, helloOf(this.#peer));
    switch (decision.kind) {
      case "accept":
        return this.#accept(decision);
      case "split-brain":
        this.#env.log.error("Split-brain detected, exiting.");
        this.#env.tell({ type: "event", event: "split-brain" });
        return this.#refuse(decision.message, { reason: decision.kind, exitCode: EX.config });
      case "resuid-mismatch":
        this.#env.log.error(decision.message);
        return this.#refuse(decision.message, { reason: decision.kind, exitCode: EX.config });
    }
  }

  #refuse(
    message: string,
    { reason, exitCode }: { reason: RefusalReason; exitCode: number },
  ): void {
    this.#exitCode = exitCode;
    this.#env.tell({ type: "refused", reason, message });
    const header = encodeSecondRefusal(this.#state(), message);
    this.#link.answer(encodeFrame(this.#peer.protocolVersion, header));
    this.#link.finish();
  }

  #accept(decision: Accepted): void {
    if (decision.unexpected) this.#warnUnexpected();
    if (decision.virgin) this.#takeOver(decision);
    const { checksum, compression } = this.#env.start.resource;
    const { header, data } = encodeSecondAnswer({
      ...this.#state(),
      virgin: decision.virgin,
      syncSource: decision.syncSource,
      map: this.#mapFor(decision),
      requestBytesMax: SECONDARY_REQUEST_BYTES,
      takesClaims: true,
    }, { checksum, compression });
    this.#link.answer(encodeFrame(this.#peer.protocolVersion, header, data));
    this.#serving = true;
    this.#link.serve(this.#secondary);
    this.#env.tell({ type: "ready" });
    this.#env.tell({ type: "event", event: "connect" });
  }

  /**
   * The component was never used: it becomes part of the primary's resource. Should the answer
   * be lost, the next handshake must come to the same map, so that is stored first.
   */
  #takeOver(decision: Accepted): void {
    const { component, map } = this.#env.opened;
    if (decision.map === "all") storeMap(component, map.fill(0xff));
    const resuid = BigInt(this.#peer.resuid);
    this.#metadata = { ...this.#metadata, resuid, localcnt: 0n, remotecnt: 0n };
    storeMetadata(component, { ...this.#metadata, prevrole: "secondary" });
  }

  #mapFor({ map }: Accepted): Uint8Array | undefined {
    const own = this.#env.opened.map;
    if (map === "none") return undefined;
    return map === "own" ? own : new Uint8Array(own.length).fill(0xff);
  }

  #state(): SecondaryState {
    const { datasizeBytes, extentsizeBytes, localcnt, remotecnt } = this.#metadata;
    return { datasizeBytes, extentsizeBytes, localcnt, remotecnt };
  }

  #warnUnexpected(): void {
    const { localcnt, remotecnt } = this.#peer;
    const own = this.#metadata;
    this.#env.log.warning(
      `This should never happen, asking for full synchronization ` +
        `(primary(local=${localcnt}, remote=${remotecnt}), ` +
        `secondary(local=${own.localcnt}, remote=${own.remotecnt})).`,
    );
  }

  // ---- while it serves ----

  /** The primary has stored what our map says. */
  #clearMap(): void {
    this.#mapWrites.fill(0, (errno) => {
      if (errno === 0) this.#env.log.debug(1, "Local activemap cleared.");
      else this.#env.log.error(`Unable to clear activemap: ${strerror(errno)}.`);
    });
  }

  /** From now on this node alone is up to date: whoever asks must come to know. */
  #claim(done: Done): void {
    this.#mapWrites.fill(0xff, (errno) => {
      if (errno !== 0) return done(errno);
      this.#store ??= new MetadataStore(this.#metadata, {
        disk: this.#env.disk,
        buffer: this.#env.arena.take(METADATA_BYTES),
      });
      const localcnt = this.#store.current.localcnt + 1n;
      this.#env.log.debug(1, `Increasing localcnt to ${localcnt}.`);
      this.#store.update({ localcnt, prevrole: "secondary" }, done);
    });
  }

  #status() {
    const { statistics, inFlightCount } = this.#secondary;
    const status = commonStatus(this.#env, statistics, {
      local: this.#env.disk.pendingCount,
      send: 0,
      recv: 0,
      inFlight: inFlightCount,
    });
    const { resuid, localcnt, remotecnt } = this.#store?.current ?? this.#metadata;
    return {
      ...status,
      resuid: String(resuid),
      localcnt: String(localcnt),
      remotecnt: String(remotecnt),
    };
  }

  // ---- the end ----

  #linkEnded(): void {
    // A refusal has its own code; the original's for a connection that has ended is 75.
    this.#end(this.#serving ? EX.tempFail : this.#exitCode);
  }

  /** What was received may have been reported as safe (memsync): it is written before the end. */
  #end(exitCode: number): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#serving) this.#env.tell({ type: "event", event: "disconnect" });
    const { reactor, disk } = this.#env;
    const startMs = reactor.nowMs;
    const look = () => {
      const settled = this.#secondary.inFlightCount === 0 && disk.pendingCount === 0;
      if (settled || reactor.nowMs - startMs >= STOP_MS) this.#env.end(exitCode);
      else reactor.setTimer(STOP_TICK_MS, look);
    };
    look();
  }
}

/** Fills the activemap on disk, one write after the other. */
class SerialMapWrites {
  readonly #env: RoleEnv;
  readonly #waiting: { value: number; done: Done }[] = [];
  #busy = false;

  constructor(env: RoleEnv) {
    this.#env = env;
  }

  fill(value: number, done: Done): void {
    this.#waiting.push({ value, done });
    this.#next();
  }

  #next(): void {
    if (this.#busy) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#busy = true;
    this.#write(next.value, (errno) => {
      this.#busy = false;
      next.done(errno);
      this.#next();
    });
  }

  #write(value: number, done: Done): void {
    const { disk, arena } = this.#env;
    const buffer = takeMapBuffer(this.#env);
    const lengthBytes = this.#env.opened.map.length;
    buffer.bytes.fill(value, 0, lengthBytes);
    disk.submit({
      op: DiskOp.write,
      offsetBytes: METADATA_BYTES,
      lengthBytes,
      buffer,
      bufferOffsetBytes: 0,
      diskDone: (errno) => {
        arena.give(buffer);
        if (errno !== 0) done(errno);
        else this.#flush(done);
      },
    });
  }

  #flush(done: Done): void {
    this.#env.disk.submit({
      op: DiskOp.flush,
      offsetBytes: 0,
      lengthBytes: 0,
      buffer: undefined,
      bufferOffsetBytes: 0,
      diskDone: (errno) => done(unlessUnsupported(errno)),
    });
  }
}

function helloOf(peer: PeerHello): PrimaryHello {
  return {
    virgin: peer.virgin,
    resuid: BigInt(peer.resuid),
    localcnt: BigInt(peer.localcnt),
    remotecnt: BigInt(peer.remotecnt),
  };
}
