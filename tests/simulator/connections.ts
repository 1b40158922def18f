/**
 * How a simulated primary finds its secondary: dialing, the handshake with everything that may
 * happen between its steps, and how either side notices that a link has broken.
 * @module
 */
import type { Primary } from "../../core/primary.ts";
import { Secondary } from "../../core/secondary.ts";
import { type JoinOutcome, SecondaryJoin } from "../../core/secondary_join.ts";
import type { PrimaryHello } from "../../core/sync_decision.ts";
import { CheckedPool } from "./memory_disk.ts";
import { Link } from "./network.ts";
import { DATA_OFFSET_BYTES, type Node, type SecondaryProcess } from "./node.ts";
import type { World } from "./world.ts";

const RECONNECT_MS = 200;
const STEP_MS = 40;
/** How often a worker that is to end is looked at. */
const RETIRE_TICK_MS = 3;
/** A side that is not told notices a broken link after this time at most. */
const NOTICE_MS = 50;
const HALF_OPEN_MS = 1500;

export interface ConnectionsHooks {
  /** A primary is about to connect. */
  readonly dialed: (node: Node) => void;
  /** The worker of a secondary has just begun. */
  readonly secondaryBegun: (node: Node, process: SecondaryProcess) => void;
  readonly splitBrain: (primary: Node, secondary: Node) => void;
}

/** Both sides of one attempt to connect. */
interface Attempt {
  readonly node: Node;
  readonly primary: Primary;
  readonly hello: PrimaryHello;
  readonly link: Link;
}

export class Connections {
  readonly #world: World;
  readonly #hooks: ConnectionsHooks;

  constructor(world: World, hooks: ConnectionsHooks) {
    this.#world = world;
    this.#hooks = hooks;
  }

  #delay(mostMs: number, run: () => void): void {
    this.#world.scheduler.after(this.#world.random.below(mostMs), run);
  }

  // ---- the primary's side ----

  dial(node: Node): void {
    const primary = node.primary?.primary;
    if (primary === undefined || node.link !== undefined) return;
    primary.prepareHello((hello) => {
      if (hello === undefined) this.#redial(node, primary);
      else this.#delay(STEP_MS, () => this.#connect(node, primary, hello));
    });
  }

  #redial(node: Node, primary: Primary): void {
    this.#world.scheduler.after(RECONNECT_MS, () => {
      if (node.primary?.primary === primary) this.dial(node);
    });
  }

  #connect(node: Node, primary: Primary, hello: PrimaryHello): void {
    if (node.primary?.primary !== primary || node.link !== undefined) return;
    const other = this.#world.otherThan(node);
    if (!other.up || other.role !== "secondary") {
      this.#redial(node, primary);
      return;
    }
    const { random, scheduler, plan } = this.#world;
    const link = new Link({
      random,
      scheduler,
      primary,
      primaryAlive: () => node.primary?.primary === primary,
      takesClaims: plan.takesClaims,
      protocolVersion: plan.protocolVersion,
      remoteFailed: () => {
        node.issuedAlone = true;
        node.remoteFailed = true;
      },
      dataRead: () => this.#world.seen.add("read of the other node"),
      closed: (closed) => this.#forget(node, primary, closed),
    });
    node.link = link;
    this.#hooks.dialed(node);
    // A first connection replaces the worker of an old one, which is waited for.
    this.retire(other, () => this.#answer(other, { node, primary, hello, link }));
  }

  #established({ node, primary, hello, link }: Attempt, outcome: JoinOutcome): void {
    if (node.link !== link || node.primary?.primary !== primary) return;
    if (outcome.kind !== "accepted") {
      link.close();
      return;
    }
    const objection = primary.linkUp(link, hello, outcome.answer);
    if (objection === undefined) {
      this.#world.judgeAccepted();
      if (outcome.answer.syncSource === "secondary") {
        this.#world.seen.add("primary behind");
        node.behind = true;
      }
      return;
    }
    this.#world.seen.add("counters changed in a handshake");
    this.#world.note(`${node.name}: dropped a link: ${objection}`);
    link.close();
  }

  /** The primary's side of a link has ended. */
  primaryNotices(link: Link): void {
    const node = this.#world.nodes.find((one) => one.link === link);
    const primary = node?.primary?.primary;
    if (node !== undefined && primary !== undefined) {
      if (primary.connected && primary.inFlightCount > 0) node.issuedAlone = true;
      primary.linkLost(link);
    }
    link.close();
  }

  #forget(node: Node, primary: Primary, link: Link): void {
    if (node.link !== link) return;
    node.link = undefined;
    this.#secondaryNoticesLater(link, NOTICE_MS);
    this.#redial(node, primary);
  }

  // ---- the secondary's side ----

  #answer(node: Node, attempt: Attempt): void {
    const { link, hello } = attempt;
    if (attempt.node.link !== link || !node.up || node.role !== "secondary") {
      this.#primaryNoticesLater(link, NOTICE_MS);
      return;
    }
    const process = this.#begin(node, link);
    node.secondary = process;
    this.#hooks.secondaryBegun(node, process);
    const { localcnt, remotecnt } = node.metadata;
    this.#world.note(
      `${node.name} (${localcnt}, ${remotecnt}) hears of (${hello.localcnt}, ${hello.remotecnt})`,
    );
    process.join.decide(hello, (outcome) => {
      if (node.secondary !== process) return;
      this.#judge(outcome, attempt.node, node);
      if (outcome.kind === "accepted") link.serve(process.secondary);
      link.answer(() => this.#established(attempt, outcome));
      if (outcome.kind === "accepted") return;
      this.retire(node, () => {});
      this.#primaryNoticesLater(link, NOTICE_MS);
    });
  }

  #begin(node: Node, link: Link): SecondaryProcess {
    const { random, scheduler } = this.#world;
    const disk = node.newDisk(random, scheduler);
    const log = this.#world.logOf(node);
    const join = new SecondaryJoin(node.metadata, node.map, {
      disk,
      log,
      buffers: new CheckedPool(),
    });
    const secondary = new Secondary({
      disk,
      log,
      replies: link,
      dataOffsetBytes: DATA_OFFSET_BYTES,
      firstRequest: () => join.firstRequest(),
      claim: (done) => {
        this.#world.seen.add("claim");
        this.#world.claimant = node;
        node.issuedAlone = true;
        node.claiming = true;
        join.claim((errno) => {
          node.claiming = false;
          done(errno);
        });
      },
    });
    return { join, secondary, link, disk };
  }

  #judge(outcome: JoinOutcome, primary: Node, secondary: Node): void {
    if (outcome.kind === "split-brain") this.#world.judgeSplitBrain();
    if (outcome.kind === "resuid-mismatch") this.#world.judgeMismatch();
    if (this.#world.splitBrainCount > 0) this.#hooks.splitBrain(primary, secondary);
  }

  /** Lets a secondary finish what it was given, then ends its worker. */
  retire(node: Node, then: () => void): void {
    const process = node.secondary;
    if (process !== undefined && !process.link.broken) this.#world.seen.add("replaced link");
    process?.link.closeSecondary();
    const look = () => {
      if (process === undefined || node.secondary !== process) then();
      else if (process.secondary.inFlightCount === 0 && process.disk.pendingCount === 0) {
        node.kill();
        then();
      } else this.#world.scheduler.after(RETIRE_TICK_MS, look);
    };
    look();
  }

  secondaryNotices(link: Link): void {
    const node = this.#world.nodes.find((one) => one.secondary?.link === link);
    if (node !== undefined) this.retire(node, () => {});
  }

  // ---- breaking ----

  /** Both sides notice, each after a time of its own. */
  cut(link: Link): void {
    this.#world.note("the link breaks");
    link.break();
    const halfOpen = this.#world.random.below(4);
    if (halfOpen < 2) this.#world.seen.add("half-open link");
    this.#primaryNoticesLater(link, halfOpen === 0 ? HALF_OPEN_MS : NOTICE_MS);
    this.#secondaryNoticesLater(link, halfOpen === 1 ? HALF_OPEN_MS : NOTICE_MS);
  }

  /** One side has died, with or without power. */
  died(link: Link, side: "primary" | "secondary", powerCut: boolean): void {
    const noticeMs = powerCut ? HALF_OPEN_MS : NOTICE_MS;
    if (side === "primary") {
      link.close();
      this.#secondaryNoticesLater(link, noticeMs);
    } else {
      link.closeSecondary();
      this.#primaryNoticesLater(link, noticeMs);
    }
  }

  #primaryNoticesLater(link: Link, mostMs: number): void {
    this.#delay(mostMs, () => this.primaryNotices(link));
  }

  #secondaryNoticesLater(link: Link, mostMs: number): void {
    this.#delay(mostMs, () => this.secondaryNotices(link));
  }
}
