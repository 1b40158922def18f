/**
 * Two nodes with the real `core/`, in one thread, from one seed; only disks, network, clock and
 * users are simulated.
 *
 * First things break while users work. Then nothing breaks any more, and both nodes must become
 * equal within a time limit.
 * @module
 */
import { Faults } from "./faults.ts";
import type { Plan } from "./plan.ts";
import { World } from "./world.ts";

const IN_FLIGHT_MAX = 8;
const STEPS_PER_TURN = 6;
const TURNS_MAX = 100_000;
const HEAL_MS = 120_000;

export class Cluster {
  readonly world: World;
  readonly faults: Faults;

  constructor(plan: Plan) {
    this.world = new World(plan);
    this.faults = new Faults(this.world);
  }

  run(): void {
    const { users, plan, random, a } = this.world;
    this.faults.startPrimary(a);
    for (let turn = 0; users.issuedCount < plan.requestCount; turn++) {
      if (turn > TURNS_MAX) throw new Error(`nobody is served: ${this.#state()}`);
      this.#issue();
      this.faults.maybeBreak();
      for (let steps = random.below(STEPS_PER_TURN); steps > 0; steps--) this.step();
    }
    this.heal();
  }

  #issue(): void {
    const { users, primaryNode } = this.world;
    if (this.faults.busy || users.inFlightCount >= IN_FLIGHT_MAX) return;
    if (primaryNode?.primary === undefined || primaryNode.unusable) {
      return;
    }
    users.issue(primaryNode, primaryNode.primary);
  }

  step(): boolean {
    const more = this.world.scheduler.step();
    this.world.noteSync();
    return more;
  }

  /** Faults off. */
  heal(): void {
    const { scheduler, nodes } = this.world;
    this.world.quiet = true;
    for (const { faults } of nodes) {
      faults.dataErrorChance = 0;
      faults.metaErrorChance = 0;
      faults.flushErrorChance = 0;
    }
    const deadlineMs = scheduler.nowMs + HEAL_MS;
    while (!this.#healed && scheduler.nowMs < deadlineMs && this.step()) {
      this.world.primaryNode?.primary?.primary.attach();
    }
    if (!this.#healed) throw new Error(`not healed: ${this.#state()}`);
    this.world.compare();
  }

  get #healed(): boolean {
    const { users, inSync, primaryNode } = this.world;
    if (!inSync || users.inFlightCount > 0) return false;
    return primaryNode?.primary?.primary.inFlightCount === 0;
  }

  #state(): string {
    const nodes = this.world.nodes.map(({ name, role, up, primary, metadata }) => {
      const { localcnt, remotecnt } = metadata;
      const stale = primary?.primary.activemap.staleCount;
      return `${name}: ${role}, up ${up}, counters ${localcnt} ${remotecnt}, stale ${stale}`;
    });
    return nodes.join("; ");
  }
}
