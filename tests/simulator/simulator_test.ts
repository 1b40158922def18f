/**
 * Seeded runs of two simulated nodes. A failure prints the seed; SIM_SEED and SIM_COUNT choose
 * others.
 */
import type { ReplicationMode } from "../../conf/config.ts";
import { Cluster, type Plan } from "./cluster.ts";
import { Random } from "./random.ts";

const FIRST_SEED = Number(Deno.env.get("SIM_SEED") ?? 1);
const COUNT = Number(Deno.env.get("SIM_COUNT") ?? 300);

const MODES: ReplicationMode[] = ["fullsync", "memsync", "async"];

/** The seed draws the fault rates as well: some runs have no crash, some only crashes. */
function drawPlan(seed: number): Plan {
  const random = new Random(seed * 7919);
  const rate = (most: number): number => random.chance(0.5) ? 0 : random.below(1000) * most / 1000;
  return {
    seed,
    mode: random.pick(MODES),
    requestCount: 40 + random.below(200),
    linkCutChance: rate(0.03),
    primaryCrashChance: rate(0.01),
    secondaryCrashChance: rate(0.02),
    ...drawErrors(random, rate),
    flushChance: rate(0.2),
    peerTakesClaims: random.chance(0.7),
  };
}

/**
 * Faults of one side only: what the primary's disk refuses is on the secondary alone, and a power
 * cut there takes what nobody has flushed.
 */
function drawErrors(
  random: Random,
  rate: (most: number) => number,
): { diskErrorChance: number; remoteErrorChance: number; powerCuts: boolean } {
  return random.chance(0.5)
    ? { diskErrorChance: rate(0.05), remoteErrorChance: 0, powerCuts: false }
    : { diskErrorChance: 0, remoteErrorChance: rate(0.05), powerCuts: random.chance(0.7) };
}

function runSeed(seed: number): void {
  const cluster = new Cluster(drawPlan(seed));
  try {
    cluster.run();
  } catch (error) {
    const plan = JSON.stringify(cluster.plan);
    throw new Error(`seed ${seed}, ${plan}\n${cluster.trace.join("\n")}`, { cause: error });
  }
}

Deno.test(`simulated nodes keep what is acknowledged and become equal: ${COUNT} seeds from ${FIRST_SEED}`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) runSeed(seed);
});
