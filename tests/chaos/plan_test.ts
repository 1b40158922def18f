/** The schedule: repeatable, and nothing is left out. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  describeFault,
  drawEpisode,
  drawRound,
  EPISODE_ROUNDS,
  episodeOf,
  TIMEOUT_SECONDS,
} from "./plan.ts";

const SEED = 4711;

function firstFaults(seed: number, count: number): string[] {
  return Array.from({ length: count }, (_, number) => {
    const fault = drawRound(seed, number).steps[0]?.fault;
    if (fault === undefined) return "";
    const ofComponent = fault.kind === "disk" || fault.kind === "power-cut";
    return ofComponent ? fault.kind : describeFault(fault);
  });
}

Deno.test("a seed gives the same rounds each time, in whatever order they are drawn", () => {
  const forwards = Array.from({ length: 40 }, (_, i) => drawRound(SEED, i));
  const backwards = Array.from({ length: 40 }, (_, i) => drawRound(SEED, 39 - i)).reverse();
  assertEquals(forwards, backwards);
  assertEquals(drawEpisode(SEED, 5), drawEpisode(SEED, 5));
});

Deno.test("another seed gives other rounds", () => {
  assertNotEquals(firstFaults(1, 20), firstFaults(2, 20));
});

Deno.test("fifty rounds, five to six minutes, show every kind of fault", () => {
  for (let seed = 0; seed < 50; seed++) {
    const kinds = new Set(firstFaults(seed, 50));
    assertEquals(kinds.size, new Set(firstFaults(seed, 400)).size, `seed ${seed}`);
  }
});

Deno.test("the modes take turns", () => {
  for (let seed = 0; seed < 5; seed++) {
    const modes = [0, 1, 2].map((number) => drawEpisode(seed, number).replication);
    assertEquals(new Set(modes).size, 3);
  }
});

for (const [kind, component] of [["disk", "failing"], ["power-cut", "volatile"]] as const) {
  Deno.test(`${kind}: only in episodes whose components are ${component}`, () => {
    let rounds = 0;
    for (let number = 0; number < 400; number++) {
      const { steps } = drawRound(SEED, number);
      if (!steps.some(({ fault }) => fault.kind === kind)) continue;
      rounds++;
      assertEquals(drawEpisode(SEED, episodeOf(number)).component?.kind, component);
    }
    assert(rounds > 400 / EPISODE_ROUNDS / 4, `${rounds}`);
  });
}

Deno.test("a primary that is to lose its role by a crash has not given up its peer before", () => {
  for (let number = 0; number < 400; number++) {
    for (const { fault } of drawRound(SEED, number).steps) {
      const noCableMs = fault.kind === "power-cut"
        ? fault.noCableMs
        : fault.kind === "kill" && fault.before === "no-cable"
        ? fault.beforeMs
        : 0;
      assert(noCableMs < TIMEOUT_SECONDS * 1000 / 2, describeFault(fault));
    }
  }
});

Deno.test("nothing follows two primaries in the same round", () => {
  for (let number = 0; number < 400; number++) {
    const kinds = drawRound(SEED, number).steps.map(({ fault }) => fault.kind);
    const index = kinds.indexOf("two-primaries");
    assert(index === -1 || (index === 0 && kinds.length === 1));
  }
});
