/**
 * Whether the primary's own component serves, and what it means for the data when it does not.
 *
 * A component that cannot be written goes *out of service* if the other node has everything. That
 * node is asked to *claim*: to say durably, in its counters and map, that it alone is up to date.
 * Until both are in sync again this node is *behind*: writes that the other one does not have
 * would be a split-brain, so they fail.
 *
 * Source: replication.md (weakness 2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import type { Log } from "../base/log.ts";
import type { Activemap, StaleSide } from "./activemap.ts";
import type { PrimaryCounters } from "./counters.ts";
import { RemoteCommand } from "./ports.ts";
import type { RemoteSide } from "./remote_side.ts";
import type { SyncSource } from "./sync_decision.ts";
import type { PieceOwner, RemotePiece, Transfer } from "./transfer.ts";

export interface LocalServiceEnv {
  readonly log: Log;
  readonly activemap: Activemap;
  readonly counters: PrimaryCounters;
  readonly remote: RemoteSide;
  /** The component has gone out of service. */
  readonly failed: () => void;
  /** The claim that this transfer waited for is over. */
  readonly settle: (transfer: Transfer) => void;
}

export class LocalService implements PieceOwner {
  readonly #env: LocalServiceEnv;
  #out = false;
  #behind = false;
  /** Whether the other node has claimed: not asked yet, asked, or done since both were in sync. */
  #claim: "none" | "asked" | "done" = "none";
  /** Remote success only: the user is told once the claim is durable. */
  #awaiting: Transfer[] = [];

  constructor(env: LocalServiceEnv) {
    this.#env = env;
  }

  /** The component has failed and is not used for data. */
  get out(): boolean {
    return this.#out;
  }

  /** The other node is, or may be, ahead of this one until both are in sync. */
  get behind(): boolean {
    return this.#behind;
  }

  get claim(): "none" | "asked" | "done" {
    return this.#claim;
  }

  /**
   * Which side a range is copied to that failed here and succeeded there: without a claim nobody
   * would know that the other node has newer data, so what it has is not used.
   */
  get lackingSide(): StaleSide {
    return this.#claim === "none" ? "peer" : "local";
  }

  /** The component cannot be written: goes out of service if the other node can serve alone. */
  takeOut(): void {
    if (this.#out || !this.#peerCanServe) return;
    this.#out = true;
    this.#behind = true;
    this.#env.log.error("The local component is out of service, the remote node alone is used.");
    this.#env.failed();
    if (this.#claim === "none") this.#askClaim();
  }

  get #peerCanServe(): boolean {
    // With a raised localcnt of ours its claim would read as a split-brain.
    return this.#env.remote.link?.takesClaims === true && this.#env.counters.peerKnowsUs &&
      !this.#env.activemap.anyStale("peer");
  }

  /** @returns whether it was out of service. */
  putBack(): boolean {
    if (!this.#out) return false;
    this.#out = false;
    this.#env.log.info("The local component is back in service.");
    return true;
  }

  // ---- the claim ----

  #askClaim(): void {
    this.#claim = "asked";
    const { remote } = this.#env;
    remote.send(remote.prepare(RemoteCommand.claim, this));
  }

  pieceReceived(_piece: RemotePiece): void {}

  pieceDone(_piece: RemotePiece, errno: number): void {
    this.#claim = errno === 0 ? "done" : "none";
    if (errno === 0) this.#env.counters.peerClaimed();
    else if (errno !== ERRNO.ENOTCONN) {
      // It has refused. Where the link was lost instead, it may have done it all the same.
      this.#out = false;
      this.#behind = false;
    }
    const waiting = this.#awaiting;
    this.#awaiting = [];
    for (const transfer of waiting) {
      transfer.awaitsCounters = false;
      // Nobody would know that the other node has it: that is no success.
      if (errno !== 0 && transfer.remoteErrno === 0) transfer.remoteErrno = errno;
      this.#env.settle(transfer);
    }
  }

  /** Keeps a transfer until the claim that is under way is over. */
  awaitClaim(transfer: Transfer): void {
    this.#awaiting.push(transfer);
  }

  // ---- the other node ----

  /** The counters say that the other node is ahead. */
  fallBehind(): void {
    this.#behind = true;
  }

  /**
   * A link is in use.
   *
   * @returns whether the component is to be put back: the other node cannot serve alone.
   */
  linked(syncSource: SyncSource): boolean {
    if (syncSource === "secondary") this.#claim = "done";
    else if (this.#out && this.#peerCanServe) this.#askClaim();
    else if (this.#out) return true;
    else this.#behind = false;
    return false;
  }

  /** Both nodes hold the same. */
  inSync(): void {
    this.#behind = false;
    this.#claim = "none";
  }
}
