/**
 * Two nodes with the real `core/`, in one thread, from one seed; only disks, network, clock and
 * users are simulated. A checker outside of the code under test knows what every sector may hold.
 * @module
 */
import type { Log } from "../../base/log.ts";
import type { ReplicationMode } from "../../conf/config.ts";
import { type PeerLink, RemoteCommand, type RemoteRequest } from "../../core/ports.ts";
import { Primary } from "../../core/primary.ts";
import { UserCommand, UserRequest } from "../../core/request.ts";
import { type ReplyPort, Secondary, SecondaryRequest } from "../../core/secondary.ts";
import { decideSync, type PrimaryHello } from "../../core/sync_decision.ts";
import { decodeMetadata, encodeMetadata, type Metadata } from "../../protocol/metadata.ts";
import { CheckedPool, heapBuffer, Medium, MemoryDisk } from "./memory_disk.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";

const SECTOR_BYTES = 512;
const EXTENT_BYTES = 4096;
const EXTENT_COUNT = 8;
const MAP_BYTES = 512;
const DATA_OFFSET_BYTES = 4096 + MAP_BYTES;
const DATA_BYTES = EXTENT_BYTES * EXTENT_COUNT;
const SECTOR_COUNT = DATA_BYTES / SECTOR_BYTES;
const RECONNECT_MS = 200;

/** What a run is about; drawn from the seed by the tests. */
export interface Plan {
  seed: number;
  mode: ReplicationMode;
  requestCount: number;
  linkCutChance: number;
  primaryCrashChance: number;
  secondaryCrashChance: number;
  /** A crash takes unflushed sectors with it. */
  powerCuts: boolean;
  diskErrorChance: number;
  remoteErrorChance: number;
  /** Chance that a request of the user is a FLUSH, or that a write has FUA. */
  flushChance: number;
  /** The other node runs this program, not the original. */
  peerTakesClaims: boolean;
}

/** One node's disk and, while it runs, its process. */
class Node {
  readonly medium = new Medium(DATA_OFFSET_BYTES + DATA_BYTES);
  readonly name: string;
  disk: MemoryDisk | undefined;
  primary: Primary | undefined;
  secondary: Secondary | undefined;
  pool = new CheckedPool();

  constructor(name: string) {
    this.name = name;
    const metadata: Metadata = {
      resource: "sim",
      datasizeBytes: DATA_BYTES,
      extentsizeBytes: EXTENT_BYTES,
      keepdirtyCount: 2,
      dataOffsetBytes: DATA_OFFSET_BYTES,
      resuid: 0n,
      localcnt: 0n,
      remotecnt: 0n,
      prevrole: "init",
    };
    this.medium.written.set(encodeMetadata(metadata), 0);
    this.medium.flush();
  }

  get metadata(): Metadata {
    return decodeMetadata(this.medium.written.subarray(0, 4096));
  }

  get map(): Uint8Array<ArrayBuffer> {
    return this.medium.written.slice(4096, 4096 + MAP_BYTES);
  }

  get data(): Uint8Array<ArrayBuffer> {
    return this.medium.written.subarray(DATA_OFFSET_BYTES);
  }

  kill(): void {
    this.disk?.kill();
    this.disk = undefined;
    this.primary = undefined;
    this.secondary = undefined;
    this.pool = new CheckedPool();
  }
}

/** A pair of connections: ordered both ways, each message takes a while, and it can be cut. */
class Link implements PeerLink, ReplyPort {
  readonly requestBytesMax: number;
  readonly protocolVersion = 2;
  readonly takesClaims: boolean;
  readonly queuedBytes = 0;
  readonly #cluster: Cluster;
  readonly #primary: Primary;
  #secondary: Secondary | undefined;
  #open = true;
  #toSecondaryMs = 0;
  #toPrimaryMs = 0;

  constructor(cluster: Cluster, primary: Primary) {
    this.#cluster = cluster;
    this.#primary = primary;
    this.requestBytesMax = cluster.random.pick([512, 1024, 131072]);
    this.takesClaims = cluster.plan.peerTakesClaims;
  }

  attach(secondary: Secondary): void {
    this.#secondary = secondary;
  }

  get open(): boolean {
    return this.#open;
  }

  /** Delivers in order after a delay; what is on its way when the link is cut is lost, or not. */
  #deliver(toSecondary: boolean, run: () => void): void {
    const { scheduler, random } = this.#cluster;
    const earliest = toSecondary ? this.#toSecondaryMs : this.#toPrimaryMs;
    const atMs = Math.max(earliest, scheduler.nowMs + random.below(30));
    if (toSecondary) this.#toSecondaryMs = atMs;
    else this.#toPrimaryMs = atMs;
    scheduler.after(atMs - scheduler.nowMs, run);
  }

  send(request: RemoteRequest): void {
    const copy = new SecondaryRequest();
    copy.command = request.command;
    copy.seqLow = request.seq;
    copy.dataOffsetBytes = request.offsetBytes;
    copy.lengthBytes = request.lengthBytes;
    copy.memsync = request.memsync;
    copy.zeros = request.zeros;
    const carries = request.command === RemoteCommand.write && !request.zeros;
    if (carries || request.command === RemoteCommand.read) {
      copy.buffer = heapBuffer(request.lengthBytes);
    }
    if (carries && request.buffer !== undefined) {
      const from = request.bufferOffsetBytes;
      copy.buffer?.bytes.set(request.buffer.bytes.subarray(from, from + request.lengthBytes));
    }
    this.#deliver(true, () => {
      // Even a link that the primary has given up may still deliver what it has carried.
      if (!this.#open && this.#cluster.random.chance(0.5)) return;
      this.#secondary?.request(copy);
    });
  }

  reply(request: SecondaryRequest, received: boolean, errno: number): void {
    const failed = !received && errno === 0 &&
      this.#cluster.random.chance(this.#cluster.plan.remoteErrorChance);
    const data = request.buffer?.bytes.slice();
    this.#deliver(false, () => {
      if (!this.#open) return;
      const target = this.#primary.readTarget(this, request.seqLow);
      if (target?.buffer !== undefined && data !== undefined && errno === 0) {
        target.buffer.bytes.set(data, target.bufferOffsetBytes);
      }
      const known = this.#primary.remoteReply(this, request.seqLow, received, failed ? 5 : errno);
      if (!known) throw new Error("a reply that nobody asked for");
    });
  }

  close(): void {
    this.#open = false;
  }
}

/** What a sector may hold: the last acknowledged version, or any begun since. */
class Model {
  /** By version, what the sector holds then: the version itself, or 0 after a zeroing. */
  readonly #allowed: Map<number, number>[] = Array.from(
    { length: SECTOR_COUNT },
    () => new Map([[0, 0]]),
  );
  readonly #watchers: Set<number[]>[] = Array.from({ length: SECTOR_COUNT }, () => new Set());

  begin(first: number, count: number, version: number, content: number): void {
    for (let s = first; s < first + count; s++) {
      this.#allowed[s]?.set(version, content);
      for (const contents of this.#watchers[s] ?? []) contents.push(content);
    }
  }

  /** Acknowledged: what was allowed before this version began is gone, later ones stay. */
  acknowledge(first: number, count: number, version: number): void {
    for (let s = first; s < first + count; s++) {
      const allowed = this.#allowed[s];
      if (allowed === undefined) continue;
      for (const older of allowed.keys()) {
        if (older < version) allowed.delete(older);
      }
    }
  }

  /**
   * What a read that begins now may return: what is allowed now, or any version begun until it
   * is done, even one that is overwritten by then.
   */
  watch(first: number, count: number): number[][] {
    const watched = this.#allowed.slice(first, first + count).map((a) => [...a.values()]);
    watched.forEach((contents, index) => this.#watchers[first + index]?.add(contents));
    return watched;
  }

  unwatch(first: number, watched: number[][]): void {
    watched.forEach((contents, index) => this.#watchers[first + index]?.delete(contents));
  }

  check(sector: number, content: number, what: string, watched?: readonly number[]): void {
    const allowed = watched ?? [...this.#allowed[sector]?.values() ?? []];
    if (!allowed.includes(content)) {
      throw new Error(`${what}: sector ${sector} holds version ${content}, may hold ${allowed}`);
    }
  }
}

export class Cluster {
  readonly plan: Plan;
  readonly random: Random;
  readonly scheduler = new Scheduler();
  readonly a = new Node("a");
  readonly b = new Node("b");
  readonly trace: string[] = [];
  readonly model = new Model();
  link: Link | undefined;
  syncDoneCount = 0;
  #version = 0;
  #issued = 0;
  #inFlight = 0;
  /** Ranges of the user's writes: the user does not overlap them. */
  readonly #busy = new Set<number>();
  #quiet = false;
  /** b alone is up to date: a, should it crash, must not be used before it has met b. */
  #claimed = false;
  #useless = false;
  /** Number of the primary's life, so that a dead one's timers are ignored. */
  #life = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = new Random(plan.seed);
  }

  note(text: string): void {
    this.trace.push(`${this.scheduler.nowMs} ${text}`);
    if (this.trace.length > 400) this.trace.shift();
  }

  #log(node: Node): Log {
    const say = (message: string) => this.note(`${node.name}: ${message}`);
    return { error: say, warning: say, info: say, debug: (_level, message) => say(message) };
  }

  /** Faults on: users write, things break. Then faults off: both nodes must become equal. */
  run(): void {
    this.startPrimary();
    while (this.#issued < this.plan.requestCount) {
      if (this.#inFlight < 8 && this.a.primary !== undefined && !this.#useless) {
        this.#issue(this.a.primary);
      }
      this.#maybeBreak();
      for (let steps = this.random.below(6); steps > 0; steps--) this.scheduler.step();
    }
    this.#quiet = true;
    if (this.a.disk !== undefined) this.a.disk.failChance = 0;
    this.a.primary?.attach();
    if (this.b.disk !== undefined) this.b.disk.failChance = 0;
    this.#settle();
  }

  #settle(): void {
    const deadlineMs = this.scheduler.nowMs + 120_000;
    while (this.scheduler.nowMs < deadlineMs && this.scheduler.step()) {
      this.a.primary?.attach();
      if (this.healed) break;
    }
    if (!this.healed) throw new Error(`not healed: ${JSON.stringify(this.a.primary?.statistics)}`);
    this.#compare();
  }

  get healed(): boolean {
    const primary = this.a.primary;
    return primary !== undefined && primary.connected && this.#inFlight === 0 &&
      primary.inFlightCount === 0 && primary.activemap.staleCount === 0 &&
      !primary.synchroniser.active &&
      primary.metadata.localcnt === this.b.metadata.remotecnt;
  }

  #compare(): void {
    for (let sector = 0; sector < SECTOR_COUNT; sector++) {
      const at = sector * SECTOR_BYTES;
      const mine = versionAt(this.a.data, at);
      const theirs = versionAt(this.b.data, at);
      if (mine !== theirs) throw new Error(`sector ${sector} differs: ${mine}, ${theirs}`);
      this.model.check(sector, mine, "at the end");
    }
    if (this.a.pool.outCount > 2) throw new Error(`${this.a.pool.outCount - 2} buffers leaked`);
  }

  // ---- users ----

  #issue(primary: Primary): void {
    this.#issued++;
    const count = 1 + this.random.below(this.random.chance(0.2) ? 16 : 3);
    const first = this.random.below(SECTOR_COUNT - count + 1);
    const kind = this.random.below(10);
    if (this.random.chance(this.plan.flushChance)) this.#flush(primary);
    else if (kind <= 3) this.#read(primary, first, count);
    else this.#write(primary, first, count, kind);
  }

  #submit(primary: Primary, request: UserRequest): void {
    this.#inFlight++;
    primary.submit(request);
  }

  #flush(primary: Primary): void {
    const life = this.#life;
    const request = new UserRequest(() => this.#done(life));
    request.command = UserCommand.flush;
    this.#submit(primary, request);
  }

  #done(life: number): void {
    if (life !== this.#life) throw new Error("a dead primary answers");
    this.#inFlight--;
  }

  #read(primary: Primary, first: number, count: number): void {
    const life = this.#life;
    const buffer = heapBuffer(count * SECTOR_BYTES);
    const watched = this.model.watch(first, count);
    const request = new UserRequest((done) => {
      this.#done(life);
      this.model.unwatch(first, watched);
      if (done.errno !== 0) return;
      for (let s = 0; s < count; s++) {
        const content = versionAt(buffer.bytes, s * SECTOR_BYTES);
        this.model.check(first + s, content, "read", watched[s]);
      }
    });
    request.command = UserCommand.read;
    request.offsetBytes = first * SECTOR_BYTES;
    request.lengthBytes = count * SECTOR_BYTES;
    request.buffer = buffer;
    this.#submit(primary, request);
  }

  #write(primary: Primary, first: number, count: number, kind: number): void {
    for (let s = first; s < first + count; s++) {
      if (this.#busy.has(s)) return;
    }
    for (let s = first; s < first + count; s++) this.#busy.add(s);
    const life = this.#life;
    const zero = kind === 4 || kind === 5;
    const version = ++this.#version;
    const begun = zero ? -version : version;
    this.model.begin(first, count, version, zero ? 0 : version);
    const request = new UserRequest((done) => {
      this.#done(life);
      this.note(`a: request ${begun} at ${first}+${count} done: ${done.errno}`);
      for (let s = first; s < first + count; s++) this.#busy.delete(s);
      if (done.errno === 0) this.model.acknowledge(first, count, version);
    });
    request.command = !zero
      ? UserCommand.write
      : kind === 4
      ? UserCommand.zero
      : UserCommand.delete;
    request.offsetBytes = first * SECTOR_BYTES;
    request.lengthBytes = count * SECTOR_BYTES;
    request.fua = this.random.chance(this.plan.flushChance);
    if (!zero) {
      request.buffer = this.a.pool.take(request.lengthBytes);
      for (let s = 0; s < count; s++) stamp(request.buffer.bytes, s * SECTOR_BYTES, version);
    }
    this.note(`a: request ${begun} at ${first}+${count}`);
    this.#submit(primary, request);
  }

  // ---- faults ----

  #maybeBreak(): void {
    if (this.random.chance(0.05)) this.a.primary?.attach();
    if (this.random.chance(this.plan.linkCutChance)) this.cut();
    if (this.random.chance(this.plan.secondaryCrashChance)) this.#crashSecondary();
    if (this.random.chance(this.plan.primaryCrashChance)) this.#crashPrimary();
  }

  /** Both sides notice, the primary at once, the secondary when it is replaced. */
  cut(): void {
    const link = this.link;
    if (link === undefined) return;
    this.note("the link is cut");
    this.link = undefined;
    link.close();
    this.a.primary?.linkLost(link);
    this.#redial();
  }

  #crashSecondary(): void {
    if (this.b.secondary === undefined) return;
    this.note("b crashes");
    this.b.kill();
    // Only one node loses power at a time: what both have lost nobody can promise.
    if (this.plan.powerCuts) this.b.medium.powerCut(this.random);
    this.cut();
  }

  #crashPrimary(): void {
    this.note("a crashes");
    this.#life++;
    this.#inFlight = 0;
    this.#busy.clear();
    this.link?.close();
    this.link = undefined;
    this.a.kill();
    this.#useless = this.#claimed;
    this.startPrimary();
  }

  // ---- nodes and handshake ----

  startPrimary(): void {
    const { a, plan } = this;
    const disk = new MemoryDisk(a.medium, this.random, this.scheduler);
    disk.failFromBytes = DATA_OFFSET_BYTES;
    disk.failChance = this.#quiet ? 0 : plan.diskErrorChance;
    a.disk = disk;
    const config = { replication: plan.mode, metaflush: true, syncRateBytesPerSecond: 0 };
    a.primary = new Primary(a.metadata, a.map, config, {
      disk,
      buffers: a.pool,
      timers: this.scheduler,
      log: this.#log(a),
      nowMs: () => this.scheduler.nowMs,
      randomResuid: () => BigInt(this.random.u32()) + 1n,
      events: {
        connected: () => {
          this.note("a: connected");
          this.#useless = false;
        },
        disconnected: () => this.note("a: disconnected"),
        syncStarted: () => this.note("a: sync started"),
        syncDone: () => {
          this.note("a: sync done");
          this.syncDoneCount++;
          this.#claimed = false;
        },
        syncInterrupted: () => this.note("a: sync interrupted"),
        localFailed: () => this.note("a: local failed"),
      },
    });
    this.#dial(a.primary);
  }

  #redial(): void {
    const primary = this.a.primary;
    this.scheduler.after(RECONNECT_MS, () => {
      if (primary !== undefined && this.a.primary === primary && this.link === undefined) {
        this.#dial(primary);
      }
    });
  }

  #dial(primary: Primary): void {
    primary.prepareHello((hello) => {
      if (hello === undefined || this.a.primary !== primary) return;
      this.scheduler.after(this.random.below(40), () => {
        if (this.a.primary === primary && this.link === undefined) this.#handshake(primary, hello);
      });
    });
  }

  #handshake(primary: Primary, hello: PrimaryHello): void {
    const { b } = this;
    b.kill(); // A first connection replaces the worker of an old one, which is waited for.
    const metadata = b.metadata;
    const decision = decideSync(metadata, hello);
    if (decision.kind !== "accept") throw new Error(decision.message);
    if (decision.virgin) {
      b.medium.written.set(encodeMetadata({ ...metadata, resuid: hello.resuid }), 0);
      b.medium.flush();
    }
    const map = decision.map === "none"
      ? undefined
      : decision.map === "own"
      ? b.map
      : new Uint8Array(MAP_BYTES).fill(0xff);
    const link = new Link(this, primary);
    b.disk = new MemoryDisk(b.medium, this.random, this.scheduler);
    b.disk.failFromBytes = DATA_OFFSET_BYTES;
    b.disk.failChance = this.#quiet ? 0 : this.plan.remoteErrorChance / 2;
    b.secondary = new Secondary({
      disk: b.disk,
      replies: link,
      log: this.#log(b),
      dataOffsetBytes: DATA_OFFSET_BYTES,
      firstRequest: () => {
        b.medium.written.fill(0, 4096, 4096 + MAP_BYTES);
        b.medium.flush();
      },
      claim: (done) => {
        this.#claimed = true;
        const localcnt = b.metadata.localcnt + 1n;
        b.medium.written.set(encodeMetadata({ ...b.metadata, localcnt }), 0);
        b.medium.written.fill(0xff, 4096, 4096 + MAP_BYTES);
        b.medium.flush();
        const secondary = b.secondary;
        this.scheduler.after(this.random.below(10), () => {
          if (b.secondary === secondary) done(0);
        });
      },
    });
    link.attach(b.secondary);
    this.link = link;
    this.scheduler.after(this.random.below(40), () => {
      if (this.a.primary !== primary || this.link !== link) return;
      const refused = primary.linkUp(link, hello, {
        localcnt: metadata.localcnt,
        remotecnt: metadata.remotecnt,
        virgin: decision.virgin,
        syncSource: decision.syncSource,
        map,
      });
      if (refused === undefined) return;
      this.note(`a: refused: ${refused}`);
      link.close();
      this.link = undefined;
      this.#redial();
    });
  }
}

function stamp(bytes: Uint8Array<ArrayBuffer>, at: number, version: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, version);
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at + SECTOR_BYTES - 4, version);
}

function versionAt(bytes: Uint8Array<ArrayBuffer>, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const version = view.getUint32(at);
  if (view.getUint32(at + SECTOR_BYTES - 4) !== version) throw new Error(`a torn sector at ${at}`);
  return version;
}
