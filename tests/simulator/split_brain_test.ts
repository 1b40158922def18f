/**
 * Two primaries on purpose: a split-brain is reported at the next connect if both took writes, and
 * never if only one did.
 */
import { assert, assertEquals } from "@std/assert";
import { Cluster } from "./cluster.ts";
import { type Node, SECTOR_COUNT } from "./node.ts";
import { drawPlan, type Plan } from "./plan.ts";

const FIRST_SEED = Number(Deno.env.get("SIM_SEED") ?? 1);
const COUNT = Number(Deno.env.get("SIM_COUNT") ?? 200);
const WAIT_MS = 60_000;

const SOUND = { dataErrorChance: 0, metaErrorChance: 0, flushErrorChance: 0 };

/** Delays are drawn from the seed; nothing breaks by itself. */
function calm(plan: Plan): Plan {
  return {
    ...plan,
    cutChance: 0,
    primaryCrashChance: 0,
    secondaryCrashChance: 0,
    swapChance: 0,
    replaceChance: 0,
    earlyDeathChance: 0,
    faults: [{ ...plan.faults[0], ...SOUND }, { ...plan.faults[1], ...SOUND }],
  };
}

class TwoPrimaries {
  readonly cluster: Cluster;

  constructor(seed: number) {
    this.cluster = new Cluster(calm(drawPlan(seed)));
  }

  get world() {
    return this.cluster.world;
  }

  #until(what: string, condition: () => boolean): void {
    const deadlineMs = this.world.scheduler.nowMs + WAIT_MS;
    while (!condition()) {
      assert(this.world.scheduler.nowMs < deadlineMs && this.cluster.step(), `never ${what}`);
    }
  }

  /** Both primaries from a common state; no link. */
  part(): void {
    const { a, b, users, random } = this.world;
    const { faults } = this.cluster;
    faults.startPrimary(a);
    this.#write(a, random.below(10));
    this.#until("in sync", () => this.world.inSync && users.inFlightCount === 0);
    if (a.link !== undefined) faults.connections.cut(a.link);
    b.role = "primary";
    this.#until("parted", () => a.link === undefined && b.secondary === undefined);
    faults.startPrimary(b);
  }

  #write(node: Node, writeCount: number): void {
    const { users, random } = this.world;
    const process = node.primary;
    assert(process !== undefined);
    for (let i = 0; i < writeCount; i++) {
      const range = { first: random.below(SECTOR_COUNT - 4), count: 1 + random.below(4), kind: 7 };
      users.write(node, process, range);
    }
  }

  writeAlone(node: Node): void {
    const { users, random } = this.world;
    this.#write(node, 1 + random.below(5));
    this.#until("written", () => users.inFlightCount === 0);
    if (random.chance(0.5)) this.#restart(node);
  }

  #restart(node: Node): void {
    node.kill();
    this.cluster.faults.startPrimary(node);
  }

  /** One of them becomes secondary. */
  demote(node: Node): void {
    node.kill();
    node.link = undefined;
    node.role = "secondary";
  }

  /** @returns whether the nodes found a split-brain instead of getting in sync. */
  meet(): boolean {
    this.#until("met", () => this.world.splitBrainCount > 0 || this.world.inSync);
    return this.world.splitBrainCount > 0;
  }
}

function contentOf(node: Node): number[] {
  return Array.from({ length: SECTOR_COUNT }, (_, sector) => node.versionAt(sector));
}

for (const writers of ["nobody", "a", "b", "both"] as const) {
  Deno.test(`two primaries, written by ${writers}: ${COUNT} seeds from ${FIRST_SEED}`, () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) {
      const two = new TwoPrimaries(seed);
      const { a, b, random } = two.world;
      two.part();
      if (writers === "a" || writers === "both") two.writeAlone(a);
      if (writers === "b" || writers === "both") two.writeAlone(b);
      const written = contentOf(writers === "b" ? b : a);
      two.demote(random.chance(0.5) ? a : b);
      assertEquals(two.meet(), writers === "both", `seed ${seed}`);
      if (writers === "both") continue;
      assertEquals([contentOf(a), contentOf(b)], [written, written], `seed ${seed}`);
    }
  });
}
