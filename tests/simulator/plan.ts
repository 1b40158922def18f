/**
 * What a run is about: the seed draws the fault rates as well, so that some runs have no crash and
 * some only crashes.
 * @module
 */
import type { ReplicationMode } from "../../conf/config.ts";
import type { DiskFaults } from "./memory_disk.ts";
import { DATA_OFFSET_BYTES } from "./node.ts";
import { Random } from "./random.ts";

export interface Plan {
  seed: number;
  mode: ReplicationMode;
  metaflush: boolean;
  requestCount: number;
  /** Chances per step of the run. */
  cutChance: number;
  primaryCrashChance: number;
  secondaryCrashChance: number;
  swapChance: number;
  /** Chance that the secondary gets a new, blank disk. */
  replaceChance: number;
  /** Chance that a crash takes the power, too; and that a dead primary is replaced. */
  powerCutChance: number;
  failoverChance: number;
  /** Chance that a process dies at one of its first operations, or while it connects. */
  earlyDeathChance: number;
  /** Chance that a process dies soon after an operation of its component has failed. */
  deathAfterErrorChance: number;
  /** Chance that a request of the user is a FLUSH, or that a write has FUA. */
  flushChance: number;
  /** Chance that a write may overlap another one. */
  overlapChance: number;
  /** Both run this program, not the original. */
  takesClaims: boolean;
  protocolVersion: number;
  /** Errors of the components of a and b; at most one of them has any. */
  faults: [DiskFaults, DiskFaults];
}

const MODES: ReplicationMode[] = ["fullsync", "memsync", "async"];

export function drawPlan(seed: number): Plan {
  const random = new Random(seed * 7919);
  const rate = (most: number): number => random.chance(0.5) ? 0 : random.below(1000) * most / 1000;
  const mode = random.pick(MODES);
  // Now and then little breaks, so that the nodes are in sync when it does.
  const calmness = random.chance(0.3) ? 0.1 : 1;
  const faults = drawFaults(random, rate);
  const sound = faults.every((one) => one.dataErrorChance + one.metaErrorChance === 0);
  // A failed component and a lost cache at once: what both have lost nobody can promise.
  const powerCutChance = sound && random.chance(0.6) ? 0.5 : 0;
  return {
    seed,
    mode,
    // Without, a power cut may lose marks of the map, as documented.
    metaflush: powerCutChance > 0 || random.chance(0.5),
    requestCount: 40 + random.below(200),
    cutChance: calmness * rate(0.03),
    primaryCrashChance: calmness * rate(0.012),
    secondaryCrashChance: calmness * rate(0.02),
    swapChance: rate(0.01),
    replaceChance: random.chance(0.7) ? 0 : rate(0.01),
    powerCutChance,
    failoverChance: random.pick([0, 0.5, 1]),
    earlyDeathChance: random.pick([0, 0, 0.1, 0.4]),
    deathAfterErrorChance: random.pick([0, 0, 0.3]),
    flushChance: rate(0.2),
    overlapChance: random.pick([0, 0, 0.5]),
    takesClaims: random.chance(0.7),
    protocolVersion: random.chance(0.9) ? 2 : 1,
    faults,
  };
}

function drawFaults(random: Random, rate: (most: number) => number): [DiskFaults, DiskFaults] {
  const draw = (): DiskFaults => ({
    dataErrorChance: 0,
    metaErrorChance: 0,
    flushErrorChance: 0,
    slowChance: random.pick([0, 0.02, 0.2]),
    dataOffsetBytes: DATA_OFFSET_BYTES,
    deleteUnsupported: random.chance(0.2),
    flushUnsupported: random.chance(0.1),
  });
  const faults: [DiskFaults, DiskFaults] = [draw(), draw()];
  if (random.chance(0.5)) return faults;
  const failing = faults[random.below(2)];
  if (failing === undefined) return faults;
  failing.dataErrorChance = rate(0.05);
  failing.metaErrorChance = random.chance(0.5) ? rate(0.1) : 0;
  failing.flushErrorChance = random.chance(0.5) ? rate(0.2) : 0;
  return faults;
}
