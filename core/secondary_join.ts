/**
 * What a secondary keeps on disk before its data: its part in the second step of the handshake, and
 * the changes of its map and counters while it serves.
 *
 * Nothing is answered before what the answer relies on is on stable storage, so that a handshake
 * that breaks off anywhere comes to the same decision, or a more careful one, when it is repeated.
 *
 * Source: wire.md (handshake), replication.md (counters), disk.md.
 * @module
 */
import { strerror } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type Metadata, METADATA_BYTES } from "../protocol/metadata.ts";
import { MetadataStore } from "./metadata_store.ts";
import {
  type BufferPool,
  type Disk,
  type DiskJob,
  DiskOp,
  type IoBuffer,
  unlessUnsupported,
} from "./ports.ts";
import {
  decideSync,
  type PeerAnswer,
  type PrimaryHello,
  type SyncDecision,
} from "./sync_decision.ts";

export interface SecondaryJoinEnv {
  readonly disk: Disk;
  readonly buffers: BufferPool;
  readonly log: Log;
}

/** What to answer to the second step of the handshake. */
export type JoinOutcome =
  | { kind: "accepted"; answer: PeerAnswer }
  | { kind: "split-brain" | "resuid-mismatch"; message: string }
  /** The component cannot be written. */
  | { kind: "failed"; errno: number };

type Done = (errno: number) => void;
type Accepted = Extract<SyncDecision, { kind: "accept" }>;

const ALL = 0xff;
const NONE = 0;

export class SecondaryJoin {
  readonly #env: SecondaryJoinEnv;
  readonly #store: MetadataStore;
  readonly #map: Uint8Array;
  readonly #mapBuffer: IoBuffer;
  readonly #fills: { value: number; done: Done }[] = [];
  #filling = false;
  /** Never used before: the resource that it is to belong to. */
  #newResuid: bigint | undefined = undefined;

  /**
   * @param metadata As it is on disk.
   * @param map The activemap as it is on disk; it is not changed.
   */
  constructor(metadata: Metadata, map: Uint8Array, env: SecondaryJoinEnv) {
    this.#env = env;
    this.#map = map;
    this.#mapBuffer = env.buffers.take(map.length);
    const buffer = env.buffers.take(METADATA_BYTES);
    this.#store = new MetadataStore(metadata, { disk: env.disk, buffer });
  }

  /** The counters, for answers, refusals and status. */
  get metadata(): Readonly<Metadata> {
    return this.#store.current;
  }

  /**
   * Decides about a primary. To be called once, before anything else.
   *
   * @param done Called with what to answer once that is durable; perhaps at once.
   */
  decide(hello: PrimaryHello, done: (outcome: JoinOutcome) => void): void {
    const decision = decideSync(this.metadata, hello);
    if (decision.kind !== "accept") {
      done(decision);
      return;
    }
    if (decision.unexpected) this.#warnOf(hello);
    const accepted: JoinOutcome = { kind: "accepted", answer: this.#answer(decision) };
    const answer = (errno: number) => done(errno === 0 ? accepted : { kind: "failed", errno });
    // What was found may be in a cache only, left there by a worker that was killed.
    if (!decision.virgin) this.#update({}, answer);
    else if (decision.map === "none") this.#takeOver(hello.resuid, answer);
    else {
      this.#newResuid = hello.resuid;
      this.#fill(ALL, answer);
    }
  }

  #answer(decision: Accepted): PeerAnswer {
    const { localcnt, remotecnt } = this.metadata;
    const { virgin, syncSource } = decision;
    return { localcnt, remotecnt, virgin, syncSource, map: this.#mapFor(decision) };
  }

  #mapFor(decision: Accepted): Uint8Array | undefined {
    if (decision.map === "none") return undefined;
    return decision.map === "own" ? this.#map : new Uint8Array(this.#map.length).fill(ALL);
  }

  /**
   * Becomes part of the primary's resource.
   *
   * Where that one has data, this is done only once it is known to have noted that we have none.
   * Until then this node stays one that was never used, so that it cannot pass for one of the pair,
   * and its map says that it is not blank either: the next handshake has everything copied, too.
   */
  #takeOver(resuid: bigint, done: Done): void {
    this.#newResuid = undefined;
    this.#update({ resuid }, (errno) => {
      if (errno !== 0) done(errno);
      else this.#fill(NONE, done);
    });
  }

  #warnOf(primary: PrimaryHello): void {
    const { localcnt, remotecnt } = this.metadata;
    this.#env.log.warning(
      "This should never happen, asking for full synchronization " +
        `(primary(local=${primary.localcnt}, remote=${primary.remotecnt}), ` +
        `secondary(local=${localcnt}, remote=${remotecnt})).`,
    );
  }

  // ---- while it serves ----

  /** `firstRequest` of `SecondaryEnv`: the primary has stored what we said. */
  firstRequest(): void {
    const cleared = (errno: number) => {
      if (errno === 0) this.#env.log.debug(1, "Local activemap cleared.");
    };
    if (this.#newResuid !== undefined) this.#takeOver(this.#newResuid, cleared);
    else this.#fill(NONE, cleared);
  }

  /**
   * `claim` of `SecondaryEnv`: this node alone is up to date. The map comes first: counters that say
   * so with an old map would have too little copied.
   */
  claim(done: Done): void {
    this.#fill(ALL, (errno) => {
      if (errno !== 0) {
        done(errno);
        return;
      }
      const localcnt = this.metadata.localcnt + 1n;
      this.#env.log.debug(1, `Increasing localcnt to ${localcnt}.`);
      this.#update({ localcnt }, done);
    });
  }

  #update(change: Partial<Metadata>, done: Done): void {
    this.#store.update({ ...change, prevrole: "secondary" }, (errno) => {
      if (errno !== 0) this.#env.log.error(`Unable to write metadata: ${strerror(errno)}.`);
      done(errno);
    });
  }

  // ---- the map on disk: one write after the other ----

  #fill(value: number, done: Done): void {
    this.#fills.push({ value, done });
    if (!this.#filling) this.#fillNext();
  }

  #fillNext(): void {
    const next = this.#fills.shift();
    if (next === undefined) return;
    this.#filling = true;
    invariant(this.#mapBuffer.bytes.length >= this.#map.length, "the map fits its buffer");
    this.#mapBuffer.bytes.fill(next.value, 0, this.#map.length);
    this.#submit(DiskOp.write, (errno) => {
      if (errno !== 0) this.#filled(next.done, errno);
      else {
        this.#submit(DiskOp.flush, (flushErrno) => {
          this.#filled(next.done, unlessUnsupported(flushErrno));
        });
      }
    });
  }

  #filled(done: Done, errno: number): void {
    this.#filling = false;
    if (errno !== 0) {
      this.#env.log.error(`Unable to write activemap to disk: ${strerror(errno)}.`);
    }
    done(errno);
    if (!this.#filling) this.#fillNext();
  }

  #submit(op: DiskOp, diskDone: Done): void {
    const writes = op === DiskOp.write;
    const job: DiskJob = {
      op,
      offsetBytes: writes ? METADATA_BYTES : 0,
      lengthBytes: writes ? this.#map.length : 0,
      buffer: writes ? this.#mapBuffer : undefined,
      bufferOffsetBytes: 0,
      diskDone,
    };
    this.#env.disk.submit(job);
  }
}
