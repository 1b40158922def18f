/** The schedule: repeatable, and nothing is left out. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { describeFault, drawEpisode, drawRound, EPISODE_ROUNDS, episodeOf } from "./plan.ts";

const SEED = 4711;

function firstFaults(seed: number, count: number): string[] {
  return Array.from({ length: count }, (_, number) => {
    const fault = drawRound(seed, number).steps[0]?.fault;
    return fault?.kind === "disk" ? "disk" : fault === undefined ? "" : describeFault(fault);
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

Deno.test("forty rounds, about five minutes, show every kind of fault", () => {
  for (let seed = 0; seed < 50; seed++) {
    const kinds = new Set(firstFaults(seed, 40));
    assertEquals(kinds.size, new Set(firstFaults(seed, 400)).size, `seed ${seed}`);
  }
});

Deno.test("the modes take turns", () => {
  for (let seed = 0; seed < 5; seed++) {
    const modes = [0, 1, 2].map((number) => drawEpisode(seed, number).replication);
    assertEquals(new Set(modes).size, 3);
  }
});

Deno.test("disks fail only in episodes that have one that can", () => {
  let diskRounds = 0;
  for (let number = 0; number < 400; number++) {
    const { steps } = drawRound(SEED, number);
    if (!steps.some(({ fault }) => fault.kind === "disk")) continue;
    diskRounds++;
    assert(drawEpisode(SEED, episodeOf(number)).faultyDisk !== undefined);
  }
  assert(diskRounds > 400 / EPISODE_ROUNDS / 4, `${diskRounds}`);
});

Deno.test("nothing follows two primaries in the same round", () => {
  for (let number = 0; number < 400; number++) {
    const kinds = drawRound(SEED, number).steps.map(({ fault }) => fault.kind);
    const index = kinds.indexOf("two-primaries");
    assert(index === -1 || (index === 0 && kinds.length === 1));
  }
});
