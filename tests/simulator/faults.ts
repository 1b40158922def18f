/**
 * What happens to the nodes: processes die, machines lose power, administrators move roles by the
 * rules (never two primaries: the old one is dead or `init` first).
 * @module
 */
import { Primary } from "../../core/primary.ts";
import { Connections } from "./connections.ts";
import { CheckedPool, type MemoryDisk } from "./memory_disk.ts";
import type { Node } from "./node.ts";
import type { World } from "./world.ts";

const RESTART_MS = 60;
const POWER_OFF_MS = 400;
/** A primary that is told to end waits so long for what is under way. */
const STOP_MS = 100;
const STOP_TICK_MS = 5;
/** Operations of a process among which an early death is drawn. */
const EARLY_OPERATIONS = 20;
const AFTER_ERROR_MS = 40;
/** What a handshake and the first requests take. */
const HANDSHAKE_MS = 150;
/** How long administrators leave a split-brain alone. */
const RESOLVE_MS = 700;

export class Faults {
  readonly #world: World;
  readonly connections: Connections;
  /** An administrator is at work, or a machine is off: nobody else interferes. */
  busy = false;

  constructor(world: World) {
    this.#world = world;
    this.connections = new Connections(world, {
      dialed: (node) => this.#mayDieInHandshake(node),
      secondaryBegun: (node, process) =>
        this.#mayDieEarly(process.disk, () => {
          if (node.secondary === process) this.crashSecondary(node);
        }),
      splitBrain: (primary, secondary) => this.#splitBrain(primary, secondary),
    });
  }

  /** Before every step of a run. */
  maybeBreak(): void {
    const { plan, random } = this.#world;
    const node = this.#world.primaryNode;
    if (random.chance(0.05)) node?.primary?.primary.attach();
    const { link } = node ?? {};
    if (link !== undefined && !link.broken && random.chance(plan.cutChance)) {
      this.connections.cut(link);
    }
    if (this.busy || node?.primary === undefined) return;
    const other = this.#world.otherThan(node);
    if (random.chance(plan.secondaryCrashChance)) this.crashSecondary(other);
    if (random.chance(plan.replaceChance)) this.#replaceDisk(other);
    if (random.chance(plan.primaryCrashChance)) this.crashPrimary(node);
    else if (random.chance(plan.swapChance)) this.swap(node);
  }

  #mayDieInHandshake(node: Node): void {
    const { plan, random, quiet } = this.#world;
    const disk = node.primary?.disk;
    if (quiet || disk === undefined || !random.chance(plan.earlyDeathChance)) return;
    this.#world.scheduler.after(random.below(HANDSHAKE_MS), () => {
      if (this.busy || node.primary?.disk !== disk) return;
      this.#world.seen.add("death in a handshake");
      this.crashPrimary(node);
    });
  }

  #mayDieEarly(disk: MemoryDisk, die: () => void): void {
    const { plan, random, quiet, scheduler } = this.#world;
    disk.failed = () => {
      if (this.#world.quiet || !random.chance(plan.deathAfterErrorChance)) return;
      scheduler.after(random.below(AFTER_ERROR_MS), () => {
        if (!this.busy && !this.#world.quiet) die();
      });
    };
    if (quiet || !random.chance(plan.earlyDeathChance)) return;
    disk.crashAt(random.below(EARLY_OPERATIONS), random.pick(["before", "torn", "after"]), () => {
      if (this.busy) return false;
      this.#world.seen.add("death at an operation");
      die();
      return true;
    });
  }

  // ---- primaries ----

  startPrimary(node: Node): void {
    const { plan, random, scheduler } = this.#world;
    const disk = node.newDisk(random, scheduler);
    const pool = new CheckedPool();
    const note = (text: string) => this.#world.note(`${node.name}: ${text}`);
    const primary = new Primary(
      node.metadata,
      node.map,
      { replication: plan.mode, metaflush: plan.metaflush, syncRateBytesPerSecond: 0 },
      {
        disk,
        buffers: pool,
        timers: {
          setTimer: (...timer) => scheduler.setTimer(...timer),
          clearTimer: (timer) => scheduler.clearTimer(timer),
        },
        log: this.#world.logOf(node),
        nowMs: () => scheduler.nowMs,
        randomResuid: () => BigInt(random.u32()) + 1n,
        events: {
          connected: () => {
            note("connected");
            node.unusable = false;
          },
          disconnected: () => note("disconnected"),
          syncStarted: () => note("sync started"),
          syncDone: () => {
            note("sync done");
            this.#world.seen.add("synchronised");
          },
          syncInterrupted: () => note("sync interrupted"),
          localFailed: () => {
            note("local failed");
            this.#world.seen.add("component out of service");
          },
        },
      },
    );
    note("begins as primary");
    node.role = "primary";
    node.primary = { primary, disk, pool };
    node.unusable = this.#world.claimant === this.#world.otherThan(node);
    this.#mayDieEarly(disk, () => {
      if (node.primary?.disk === disk) this.crashPrimary(node);
    });
    this.connections.dial(node);
  }

  /** The process is gone; users are told nothing. */
  #endPrimary(node: Node, powerCut: boolean): void {
    this.#world.users.abandon();
    node.kill();
    const { link } = node;
    node.link = undefined;
    if (link !== undefined) this.connections.died(link, "primary", powerCut);
  }

  /** Whether the other node holds all that users were told is done. */
  #complete(node: Node): boolean {
    const primary = node.primary?.primary;
    const secondary = this.#world.otherThan(node).secondary;
    const { mode } = this.#world.plan;
    if (primary === undefined || !primary.connected || mode === "async") return false;
    if (primary.activemap.anyStale("peer") || primary.synchroniser.active) return false;
    // It must not have died since; and with memsync, have stored what it has received.
    return secondary?.link === node.link && secondary?.link.lossless === true;
  }

  crashPrimary(node: Node): void {
    const { plan, random, scheduler } = this.#world;
    const other = this.#world.otherThan(node);
    const complete = this.#complete(node);
    const powerCut = random.chance(plan.powerCutChance);
    const failover = other.up && random.chance(plan.failoverChance);
    this.#world.note(`${node.name} dies${powerCut ? " without power" : ""}`);
    if (powerCut) this.#world.seen.add("primary loses power");
    this.busy = true;
    this.#endPrimary(node, powerCut);
    if (powerCut) node.medium.powerCut(random);
    const offMs = random.below(powerCut ? POWER_OFF_MS : RESTART_MS);
    if (failover) {
      node.role = "init";
      this.#promote(other, complete);
      node.up = false;
      scheduler.after(offMs, () => {
        node.up = true;
        node.role = "secondary";
      });
      return;
    }
    this.#world.seen.add("primary starts again");
    if (powerCut) this.#world.model.powerCut();
    scheduler.after(offMs, () => {
      this.busy = false;
      this.startPrimary(node);
    });
  }

  /** Makes a node primary whose other node is not. */
  #promote(node: Node, complete: boolean): void {
    this.#world.note(`${node.name} is promoted${complete ? "" : ", though it may lack data"}`);
    this.#world.seen.add(`failover to ${complete ? "a complete" : "an incomplete"} node`);
    if (!complete) this.#world.model.anythingGoes();
    node.role = "init";
    this.connections.retire(node, () => {
      this.busy = false;
      this.startPrimary(node);
    });
  }

  /** An administrator swaps the roles: the primary becomes `init`, then the other one primary. */
  swap(node: Node): void {
    const other = this.#world.otherThan(node);
    const primary = node.primary?.primary;
    if (primary === undefined || !other.up) return;
    const { scheduler } = this.#world;
    this.#world.note("the roles are swapped");
    this.busy = true;
    const endMs = scheduler.nowMs + STOP_MS;
    const look = () => {
      if (primary.inFlightCount > 0 && scheduler.nowMs < endMs) {
        scheduler.after(STOP_TICK_MS, look);
        return;
      }
      const complete = this.#complete(node);
      this.#endPrimary(node, false);
      node.role = "secondary";
      this.#promote(other, complete);
    };
    look();
  }

  // ---- secondaries ----

  crashSecondary(node: Node): void {
    const { secondary } = node;
    if (secondary === undefined) return;
    const { plan, random, scheduler } = this.#world;
    const powerCut = random.chance(plan.powerCutChance);
    this.#world.note(`${node.name} dies${powerCut ? " without power" : ""}`);
    node.kill();
    this.connections.died(secondary.link, "secondary", powerCut);
    if (!powerCut) return;
    this.#world.seen.add("secondary loses power");
    if (this.#world.isAhead(node)) this.#world.model.powerCut();
    node.medium.powerCut(random);
    node.up = false;
    scheduler.after(random.below(POWER_OFF_MS), () => node.up = true);
  }

  /** The secondary gets a new disk, unless the old one alone has everything. */
  #replaceDisk(node: Node): void {
    const primary = this.#world.otherThan(node).primary?.primary;
    if (primary === undefined || primary.outOfService || this.#world.isAhead(node)) return;
    if (!node.up || this.#world.claimant !== undefined || this.#world.otherThan(node).behind) {
      return;
    }
    this.#world.note(`${node.name} gets a new disk`);
    this.#world.seen.add("disk replaced");
    if (node.secondary !== undefined) {
      this.connections.died(node.secondary.link, "secondary", false);
    }
    node.kill();
    node.create();
    this.#world.created(node);
  }

  // ---- split-brain ----

  #splitBrain(primary: Node, secondary: Node): void {
    if (this.#world.splitBrainCount !== 1) return;
    this.#world.scheduler.after(RESOLVE_MS, () => this.#resolve(primary, secondary));
  }

  /** An administrator decides whose data is thrown away. */
  #resolve(primary: Node, secondary: Node): void {
    this.#world.splitBrainCount = 0;
    if (primary.role !== "primary" || secondary.role !== "secondary") return;
    this.#world.note(`the split-brain is resolved: ${secondary.name} is created again`);
    if (secondary.secondary !== undefined) {
      this.connections.died(secondary.secondary.link, "secondary", false);
    }
    secondary.kill();
    secondary.create();
    this.#world.created(secondary);
  }
}
