/**
 * The counters of both nodes as the primary sees them: its own, on disk, and the secondary's as
 * long as their link lasts.
 *
 * `localcnt` is raised before this node reports a write done that the other lacks, and made equal
 * again once both hold the same.
 *
 * Source: replication.md (counters).
 * @module
 */
import { strerror } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import type { Metadata } from "../protocol/metadata.ts";
import type { MetadataStore } from "./metadata_store.ts";
import type { PeerAnswer, PrimaryHello } from "./sync_decision.ts";

export interface PrimaryCountersEnv {
  readonly store: MetadataStore;
  readonly log: Log;
  /** The map on disk had no mark when the role began. */
  readonly blank: boolean;
  /** A random u64 that is not 0. */
  readonly randomResuid: () => bigint;
  /** The raised localcnt is on disk (0), or could not be written. */
  readonly raised: (errno: number) => void;
}

/** Why a link is refused although the secondary accepted: what it has not seen would be lost. */
export const BOTH_TOOK_WRITES = "both nodes have taken writes alone";

export class PrimaryCounters {
  readonly #env: PrimaryCountersEnv;
  #peerLocalcnt = 0n;
  #peerRemotecnt = 0n;
  /** localcnt was raised since both nodes were last in sync. */
  #raised = false;
  #raising = false;
  #everWritten = false;
  #everLinked = false;
  #drewResuid = false;

  constructor(env: PrimaryCountersEnv) {
    this.#env = env;
  }

  get metadata(): Readonly<Metadata> {
    return this.#env.store.current;
  }

  /** Everything is on disk. */
  get settled(): boolean {
    return this.#env.store.settled;
  }

  /** The raised localcnt is on its way to the disk. */
  get raising(): boolean {
    return this.#raising;
  }

  /** The secondary knows our localcnt: we have written nothing alone. */
  get peerKnowsUs(): boolean {
    return this.settled && this.metadata.localcnt === this.#peerRemotecnt;
  }

  /** The user is about to change data: this node is no virgin any more. */
  noteWrite(): void {
    this.#everWritten = true;
  }

  /** From now on this node has data that the other lacks: its localcnt says so, durably. */
  raise(): void {
    if (this.#raised) return;
    this.#raised = true;
    this.#raising = true;
    const localcnt = this.metadata.localcnt + 1n;
    this.#env.log.debug(1, `Increasing localcnt to ${localcnt}.`);
    // A node with data is never taken for one that was not used yet.
    this.#update({ localcnt, resuid: this.#resuid() }, (errno) => {
      this.#raising = false;
      if (errno !== 0) this.#raised = false;
      this.#env.raised(errno);
    });
  }

  /** Implements `Primary.prepareHello`. */
  prepareHello(done: (hello: PrimaryHello | undefined) => void): void {
    const answer = (errno: number) => done(errno === 0 ? this.#hello() : undefined);
    if (this.metadata.resuid !== 0n) {
      this.#env.store.whenSettled(answer);
      return;
    }
    this.#update({ resuid: this.#resuid() }, answer);
  }

  /** Ours, drawn where there is none yet. */
  #resuid(): bigint {
    if (this.metadata.resuid !== 0n) return this.metadata.resuid;
    this.#drewResuid = true;
    return this.#env.randomResuid();
  }

  #hello(): PrimaryHello {
    const { resuid, localcnt, remotecnt } = this.metadata;
    const untouched = this.#env.blank && !this.#everWritten && !this.#everLinked &&
      localcnt === 0n;
    return { resuid, localcnt, remotecnt, virgin: this.#drewResuid && untouched };
  }

  /**
   * The secondary has answered to `hello`.
   *
   * @returns why its answer does not hold any more, or undefined.
   */
  objectionTo(hello: PrimaryHello, answer: PeerAnswer): string | undefined {
    const now = this.#hello();
    if (!this.settled || now.localcnt !== hello.localcnt || now.virgin !== hello.virgin) {
      return "the counters have changed during the handshake";
    }
    if (answer.syncSource === "secondary" && this.#raised) {
      return BOTH_TOOK_WRITES;
    }
    return undefined;
  }

  /** Writes the metadata as it is: 0 if the component takes it. */
  rewrite(done: (errno: number) => void): void {
    this.#update({}, done);
  }

  /** Takes over the secondary's counters; `done` is called if ours have to be written for it. */
  meet(answer: PeerAnswer, done: (errno: number) => void): void {
    this.#everLinked = true;
    this.#peerLocalcnt = answer.localcnt;
    this.#peerRemotecnt = answer.remotecnt;
    if (!answer.virgin) return;
    // Only we have the data: a secondary that was never used must not pass for our equal, and what
    // we know of the one before it says nothing about it.
    const { localcnt, remotecnt } = this.metadata;
    if (localcnt !== 0n && remotecnt === answer.localcnt) return;
    this.#update({ localcnt: localcnt || 1n, remotecnt: answer.localcnt }, done);
  }

  /** The secondary has raised its localcnt because our component has failed. */
  peerClaimed(): void {
    this.#peerLocalcnt += 1n;
  }

  /**
   * Both nodes hold the same: from now on each knows the other's localcnt. A write that this node
   * takes alone from here on raises it again, even if the disk has not got so far.
   *
   * @param done Called once that is on disk, or cannot be written.
   */
  inSync(done: (errno: number) => void): void {
    this.#raised = false;
    const localcnt = this.#peerRemotecnt;
    const remotecnt = this.#peerLocalcnt;
    const known = this.metadata.localcnt === localcnt && this.metadata.remotecnt === remotecnt;
    if (known && this.#env.store.proven) {
      done(0);
      return;
    }
    if (!known) {
      this.#env.log.debug(1, `Setting localcnt to ${localcnt} and remotecnt to ${remotecnt}.`);
    }
    this.#update({ localcnt, remotecnt }, done);
  }

  #update(change: Partial<Metadata>, done: (errno: number) => void): void {
    this.#env.store.update({ ...change, prevrole: "primary" }, (errno) => {
      if (errno !== 0) this.#env.log.error(`Unable to write metadata: ${strerror(errno)}.`);
      done(errno);
    });
  }
}
