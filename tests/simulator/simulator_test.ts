/**
 * Seeded runs of two simulated nodes. A failure prints the seed; SIM_SEED and SIM_COUNT choose
 * others.
 */
import { assertEquals } from "@std/assert";
import { Cluster } from "./cluster.ts";
import { drawPlan } from "./plan.ts";
import { type Sight, SIGHTS } from "./world.ts";

const FIRST_SEED = Number(Deno.env.get("SIM_SEED") ?? 1);
const COUNT = Number(Deno.env.get("SIM_COUNT") ?? 500);
/** So many runs come across everything. */
const COUNT_FOR_ALL_SIGHTS = 500;

function runSeed(seed: number, seen: Set<Sight>): void {
  const cluster = new Cluster(drawPlan(seed));
  const { plan, trace } = cluster.world;
  try {
    cluster.run();
  } catch (error) {
    throw new Error(`seed ${seed}, ${JSON.stringify(plan)}\n${trace.join("\n")}`, { cause: error });
  }
  for (const sight of cluster.world.seen) seen.add(sight);
}

Deno.test(`simulated nodes keep what is acknowledged and become equal: ${COUNT} seeds from ${FIRST_SEED}`, () => {
  const seen = new Set<Sight>();
  for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) runSeed(seed, seen);
  if (COUNT < COUNT_FOR_ALL_SIGHTS) return;
  assertEquals(SIGHTS.filter((sight) => !seen.has(sight)), [], "these were never seen");
});
