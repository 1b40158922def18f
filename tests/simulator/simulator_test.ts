/**
 * Seeded runs of two simulated nodes. A failure prints the seed; SIM_SEED and SIM_COUNT choose
 * others.
 */
import { Cluster } from "./cluster.ts";
import { drawPlan } from "./plan.ts";

const FIRST_SEED = Number(Deno.env.get("SIM_SEED") ?? 1);
const COUNT = Number(Deno.env.get("SIM_COUNT") ?? 300);

function runSeed(seed: number): void {
  const cluster = new Cluster(drawPlan(seed));
  try {
    cluster.run();
  } catch (error) {
    const { plan, trace } = cluster.world;
    throw new Error(`seed ${seed}, ${JSON.stringify(plan)}\n${trace.join("\n")}`, { cause: error });
  }
}

Deno.test(`simulated nodes keep what is acknowledged and become equal: ${COUNT} seeds from ${FIRST_SEED}`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + COUNT; seed++) runSeed(seed);
});
