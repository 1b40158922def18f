/**
 * What all parts of a simulation share, and the rules by which it is judged.
 * @module
 */
import type { Log } from "../../base/log.ts";
import type { Metadata } from "../../protocol/metadata.ts";
import { Model } from "./model.ts";
import { Node, SECTOR_COUNT } from "./node.ts";
import type { Plan } from "./plan.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";
import { Users } from "./users.ts";

const TRACE_LINES_MAX = 400;

/** What a number of runs must have come across, lest they prove nothing. */
export const SIGHTS = [
  "failover to a complete node",
  "failover to an incomplete node",
  "primary starts again",
  "primary loses power",
  "secondary loses power",
  "death at an operation",
  "death in a handshake",
  "half-open link",
  "replaced link",
  "counters changed in a handshake",
  "split-brain",
  "resuid mismatch",
  "component out of service",
  "claim",
  "primary behind",
  "synchronised",
  "read of the other node",
  "disk replaced",
] as const;
export type Sight = typeof SIGHTS[number];

export class World {
  readonly plan: Plan;
  readonly random: Random;
  readonly scheduler = new Scheduler();
  readonly model = new Model(SECTOR_COUNT);
  readonly users: Users;
  readonly a: Node;
  readonly b: Node;
  readonly trace: string[] = [];
  readonly seen = new Set<Sight>();
  /** Nothing breaks any more. */
  quiet = false;
  /** The node that has said that it alone is up to date. */
  claimant: Node | undefined = undefined;
  /** Both have known durably that they belong together, since one of them was created. */
  #met = false;
  /** Handshakes that found a split-brain since the last resolution. */
  splitBrainCount = 0;

  constructor(plan: Plan) {
    this.plan = plan;
    this.random = new Random(plan.seed);
    this.a = new Node("a", { ...plan.faults[0] });
    this.b = new Node("b", { ...plan.faults[1] });
    const { model, random } = this;
    this.users = new Users({
      plan,
      random,
      model,
      other: (node) => this.otherThan(node),
      note: (text) => this.note(text),
    });
  }

  note(text: string): void {
    this.trace.push(`${this.scheduler.nowMs} ${text}`);
    if (this.trace.length > TRACE_LINES_MAX) this.trace.shift();
  }

  logOf(node: Node): Log {
    const say = (message: string) => this.note(`${node.name}: ${message}`);
    return { error: say, warning: say, info: say, debug: (_level, message) => say(message) };
  }

  get nodes(): Node[] {
    return [this.a, this.b];
  }

  otherThan(node: Node): Node {
    return node === this.a ? this.b : this.a;
  }

  /** The one primary that there is outside of a test with two. */
  get primaryNode(): Node | undefined {
    return this.nodes.find((node) => node.role === "primary");
  }

  /** After every step: from the moment at which both are in sync, nobody has written alone. */
  noteSync(): void {
    const { a, b, primaryNode } = this;
    if (!this.#met) {
      const { resuid } = a.durableMetadata;
      this.#met = resuid !== 0n && resuid === b.durableMetadata.resuid;
    }
    const noted = a.behind || b.behind || a.issuedAlone || b.issuedAlone || a.alone.size > 0 ||
      b.alone.size > 0 ||
      this.claimant !== undefined;
    const primary = primaryNode?.primary?.primary;
    if (!noted || primaryNode === undefined || primary?.connected !== true) return;
    const theirs = this.otherThan(primaryNode).durableMetadata;
    if (!areEqual(primary.metadata, theirs) || a.claiming || b.claiming) return;
    for (const node of this.nodes) {
      node.behind = false;
      node.forgetShared(this.otherThan(node));
    }
    if (!areEqual(primaryNode.durableMetadata, theirs)) return;
    if (primaryNode.remoteFailed && primary.inFlightCount > 0) return;
    for (const node of this.nodes) {
      node.issuedAlone = false;
      node.remoteFailed = false;
    }
    this.claimant = undefined;
  }

  /** Both hold the same now. */
  get inSync(): boolean {
    const primary = this.primaryNode?.primary?.primary;
    if (primary?.connected !== true || primary.synchroniser.active) return false;
    if (primary.activemap.staleCount > 0) return false;
    return areEqual(this.a.durableMetadata, this.b.durableMetadata);
  }

  /** This secondary alone has everything that users were told is done. */
  isAhead(secondary: Node): boolean {
    const node = this.otherThan(secondary);
    const primary = node.primary?.primary;
    return primary?.activemap.anyStale("local") === true ||
      secondary.durableMetadata.localcnt > node.durableMetadata.remotecnt;
  }

  // ---- judgements ----

  /** Both nodes accept each other: not if both have taken writes alone. */
  judgeAccepted(): void {
    if (this.a.hasAlone(this.b) && this.b.hasAlone(this.a)) {
      throw new Error("both nodes took writes alone, and no split-brain is reported");
    }
  }

  judgeSplitBrain(): void {
    this.splitBrainCount++;
    this.seen.add("split-brain");
    this.note("split-brain");
    if (!this.a.issuedAlone || !this.b.issuedAlone) {
      throw new Error("a split-brain is reported, but only one node took writes alone");
    }
  }

  /** Both were primary before they ever met: neither has the other's resource. */
  judgeMismatch(): void {
    this.splitBrainCount++;
    this.seen.add("resuid mismatch");
    this.note("resuid mismatch");
    if (this.#met) throw new Error("a node has changed its resuid");
  }

  /** An administrator has created a component again: its data does not count any more. */
  created(node: Node): void {
    this.splitBrainCount = 0;
    this.#met = false;
    node.issuedAlone = false;
    node.alone.clear();
  }

  /** Both components hold the same, and what they may. */
  compare(): void {
    for (let sector = 0; sector < SECTOR_COUNT; sector++) {
      const [mine, theirs] = [this.a.versionAt(sector), this.b.versionAt(sector)];
      if (mine !== theirs) throw new Error(`sector ${sector} differs: ${mine}, ${theirs}`);
      this.model.check(sector, mine, "at the end");
    }
    const out = this.primaryNode?.primary?.pool.outCount ?? 0;
    if (out > 2) throw new Error(`${out - 2} buffers leaked`);
  }
}

/** Each knows the other's localcnt. */
function areEqual(mine: Metadata, theirs: Metadata): boolean {
  return mine.localcnt === theirs.remotecnt && mine.remotecnt === theirs.localcnt;
}
