/**
 * What is done to the pair, drawn from a seed: the same seed always gives the same rounds, each of
 * which can be drawn without those before it.
 *
 * Rounds come in episodes: an episode starts with a new pair and keeps it, so that what one round
 * leaves behind on disk is there for the next. The first fault of a round is dealt from a shuffled
 * deck, so that every kind has its turn; those after it are drawn freely.
 * @module
 */
import type { ReplicationMode } from "../../conf/config.ts";
import { Random } from "../support/random.ts";

/** Rounds that share a pair. */
export const EPISODE_ROUNDS = 4;
/** `timeout` of the configuration, in seconds: short, so that a lost link is noticed within a round. */
export const TIMEOUT_SECONDS = 2;

/** By what it is at that moment. */
export type Role = "primary" | "secondary";

/** The main process, its worker, or both in one instant. */
export type Processes = "main" | "worker" | "both";

export type Fault =
  /**
   * kill -9, after some time frozen or without the cable. `promote`: the other node takes over,
   * where that is allowed.
   */
  | {
    kind: "kill";
    role: Role;
    what: Processes;
    promote: boolean;
    before: "nothing" | "frozen" | "no-cable";
    beforeMs: number;
  }
  /** kill -9 of everything on both nodes. */
  | { kind: "kill-pair" }
  /** SIGSTOP, later SIGCONT. */
  | { kind: "freeze"; role: Role; what: Processes; durationMs: number }
  /** No cable at the node. */
  | { kind: "cable"; role: Role; durationMs: number }
  /** Nothing that the node sends arrives. */
  | { kind: "mute"; role: Role; durationMs: number }
  /** The roles change hands, under load. */
  | { kind: "swap" }
  /** SIGTERM, and a new start. */
  | { kind: "restart"; role: Role }
  /** kill -9 of everything on a node, whose component loses what was not flushed. */
  | { kind: "power-cut"; role: Role; promote: boolean; noCableMs: number }
  /** The component of one node fails. */
  | { kind: "disk"; durationMs: number }
  /** Both nodes are primary; who takes writes. Only as the last fault of a round. */
  | { kind: "two-primaries"; writers: "both" | "first" | "second" | "none" };

/** A fault, and for how long the load goes on after it. */
export interface Step {
  fault: Fault;
  thenMs: number;
}

export interface Round {
  number: number;
  /** For the choices of the round: blocks, sizes. */
  seed: number;
  /**
   * `dense`: as fast as it goes, so that much is in flight. `sparse`: with pauses, so that most
   * extents are left alone: where each one is dirty anyway, none is missed.
   */
  load: "dense" | "sparse";
  warmupMs: number;
  steps: Step[];
}

/** A component that is more than a file. */
export type ComponentKind =
  /** Of one node: can be told to fail. */
  | { kind: "failing"; side: 0 | 1; operation: "pread" | "pwrite"; ratePercent: number }
  /** Of both nodes: loses in a power cut what was not flushed. */
  | { kind: "volatile" };

export interface Episode {
  number: number;
  replication: ReplicationMode;
  checksum: "none" | "crc32" | "sha256";
  compression: "none" | "hole" | "lzf";
  metaflush: "on" | "off";
  /** Undefined: plain files. */
  component: ComponentKind | undefined;
}

const MODES: readonly ReplicationMode[] = ["fullsync", "memsync", "async"];
/** Components of the episodes, in turn. As long as it has no factor in common with the modes. */
const COMPONENT_TURNS = ["plain", "volatile", "plain", "failing"] as const;
/** Shorter and longer than it takes to give up a link. */
const SHORT_MS = 400;
const LONG_MS = TIMEOUT_SECONDS * 1000 + 1200;

type Kill = Fault & { kind: "kill" };

function kill(role: Role, what: Processes, more: Partial<Kill> = {}): Fault {
  return { kind: "kill", role, what, promote: false, before: "nothing", beforeMs: 0, ...more };
}

/** All first faults of a round but the disk's. */
const DECK: readonly Fault[] = [
  kill("primary", "main"),
  kill("primary", "worker"),
  kill("primary", "both"),
  kill("primary", "main", { promote: true }),
  kill("primary", "both", { promote: true }),
  kill("primary", "both", { promote: true, before: "frozen", beforeMs: 300 }),
  // A machine that dies: what is in its socket buffers never leaves it.
  kill("primary", "both", { promote: true, before: "no-cable", beforeMs: 20 }),
  kill("primary", "both", { promote: true, before: "no-cable", beforeMs: SHORT_MS }),
  kill("secondary", "main"),
  kill("secondary", "worker"),
  kill("secondary", "both"),
  kill("secondary", "both", { before: "no-cable", beforeMs: 20 }),
  { kind: "kill-pair" },
  { kind: "freeze", role: "primary", what: "main", durationMs: LONG_MS },
  { kind: "freeze", role: "primary", what: "worker", durationMs: SHORT_MS },
  { kind: "freeze", role: "primary", what: "worker", durationMs: LONG_MS },
  { kind: "freeze", role: "secondary", what: "main", durationMs: LONG_MS },
  { kind: "freeze", role: "secondary", what: "worker", durationMs: SHORT_MS },
  { kind: "freeze", role: "secondary", what: "worker", durationMs: LONG_MS },
  { kind: "freeze", role: "secondary", what: "both", durationMs: LONG_MS },
  { kind: "cable", role: "primary", durationMs: SHORT_MS },
  { kind: "cable", role: "primary", durationMs: LONG_MS },
  { kind: "cable", role: "secondary", durationMs: LONG_MS },
  { kind: "mute", role: "primary", durationMs: SHORT_MS },
  { kind: "mute", role: "primary", durationMs: LONG_MS },
  { kind: "mute", role: "secondary", durationMs: LONG_MS },
  { kind: "swap" },
  { kind: "swap" },
  { kind: "restart", role: "primary" },
  { kind: "restart", role: "secondary" },
  { kind: "two-primaries", writers: "both" },
  { kind: "two-primaries", writers: "first" },
  { kind: "two-primaries", writers: "second" },
  { kind: "two-primaries", writers: "none" },
];

/** First faults of rounds in which the components are volatile, beside the deck. */
const POWER_CUTS: readonly Fault[] = [
  { kind: "power-cut", role: "secondary", promote: false, noCableMs: 0 },
  { kind: "power-cut", role: "secondary", promote: false, noCableMs: SHORT_MS },
  { kind: "power-cut", role: "primary", promote: true, noCableMs: 0 },
  { kind: "power-cut", role: "primary", promote: true, noCableMs: SHORT_MS },
];

/** What may follow in the same round. */
const FOLLOWERS = DECK.filter(({ kind }) => kind !== "two-primaries");

/** A stream of random numbers for one purpose. */
function stream(seed: number, purpose: number, number: number): Random {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(purpose, 0x85ebca6b) ^ number);
  for (let i = 0; i < 8; i++) random.next(); // The first ones of similar seeds are similar.
  return random;
}

function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[random.below(values.length)];
  if (value === undefined) throw new Error("Cannot pick from nothing");
  return value;
}

function shuffled<T>(random: Random, values: readonly T[]): T[] {
  const all = [...values];
  for (let i = all.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [all[i], all[j]] = [all[j] as T, all[i] as T];
  }
  return all;
}

/** The episode that a round belongs to. */
export function episodeOf(roundNumber: number): number {
  return Math.floor(roundNumber / EPISODE_ROUNDS);
}

function componentTurn(episodeNumber: number): typeof COMPONENT_TURNS[number] {
  return pickAt(COMPONENT_TURNS, episodeNumber % COMPONENT_TURNS.length);
}

/** The configuration of an episode; numbers start at 0. */
export function drawEpisode(seed: number, number: number): Episode {
  const random = stream(seed, 1, number);
  const component = drawComponent(random, number);
  const metaflush = pick(random, ["on", "on", "off"] as const);
  return {
    number,
    replication: MODES[(number + seed) % MODES.length] ?? "fullsync",
    checksum: pick(random, ["none", "none", "crc32", "sha256"] as const),
    compression: pick(random, ["hole", "hole", "none", "lzf"] as const),
    // Without it nothing is promised after a power cut.
    metaflush: component?.kind === "volatile" ? "on" : metaflush,
    component,
  };
}

function drawComponent(random: Random, episodeNumber: number): ComponentKind | undefined {
  const kind = componentTurn(episodeNumber);
  if (kind === "plain") return undefined;
  if (kind === "volatile") return { kind };
  return {
    kind,
    side: pick(random, [0, 1] as const),
    operation: pick(random, ["pread", "pwrite", "pwrite"] as const),
    ratePercent: pick(random, [5, 100]),
  };
}

/** A round; numbers start at 0. */
export function drawRound(seed: number, number: number): Round {
  const random = stream(seed, 2, number);
  const steps: Step[] = [{ fault: firstFault(seed, number), thenMs: 200 + random.below(1200) }];
  const mayFollow = steps[0]?.fault.kind !== "two-primaries";
  while (mayFollow && steps.length < 3 && random.below(3) === 0) {
    steps.push({ fault: pick(random, FOLLOWERS), thenMs: 200 + random.below(800) });
  }
  return {
    number,
    seed: random.next(),
    load: pick(random, ["dense", "sparse", "sparse"] as const),
    warmupMs: 200 + random.below(1000),
    steps,
  };
}

/** Every second round of an episode whose components are no plain files is about them. */
function isComponentRound(number: number): boolean {
  return componentTurn(episodeOf(number)) !== "plain" && number % 2 === 1;
}

function firstFault(seed: number, number: number): Fault {
  if (isComponentRound(number)) return componentFault(seed, number);
  let position = 0;
  for (let earlier = 0; earlier < number; earlier++) if (!isComponentRound(earlier)) position++;
  const deck = shuffled(stream(seed, 4, Math.floor(position / DECK.length)), DECK);
  return pickAt(deck, position % DECK.length);
}

function componentFault(seed: number, number: number): Fault {
  const random = stream(seed, 3, number);
  if (componentTurn(episodeOf(number)) === "volatile") return pick(random, POWER_CUTS);
  return { kind: "disk", durationMs: 300 + random.below(1200) };
}

function pickAt<T>(values: readonly T[], index: number): T {
  const value = values[index];
  if (value === undefined) throw new Error(`Cannot take value ${index} of ${values.length}`);
  return value;
}

function takesOver(promote: boolean): string {
  return promote ? "; the other node takes over" : "";
}

/** A fault in words. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case "kill": {
      const { what, role, before, beforeMs, promote } = fault;
      const text = before === "nothing" ? "" : `, for ${beforeMs} ms ${before} before`;
      return `kill -9 of ${what} on the ${role}${text}${takesOver(promote)}`;
    }
    case "kill-pair":
      return "kill -9 of everything on both nodes";
    case "freeze":
      return `SIGSTOP of ${fault.what} on the ${fault.role} for ${fault.durationMs} ms`;
    case "cable":
      return `the ${fault.role} without its cable for ${fault.durationMs} ms`;
    case "mute":
      return `nothing from the ${fault.role} arrives for ${fault.durationMs} ms`;
    case "swap":
      return "roles change hands";
    case "restart":
      return `restart of the ${fault.role}'s daemon`;
    case "power-cut":
      return `power cut of the ${fault.role}, ${fault.noCableMs} ms after its cable` +
        takesOver(fault.promote);
    case "disk":
      return `a component fails for ${fault.durationMs} ms`;
    case "two-primaries":
      return `two primaries, written: ${fault.writers}`;
  }
}

/** A round in one line. */
export function describeRound(round: Round): string {
  const faults = round.steps.map(({ fault }) => describeFault(fault));
  return `${round.load} load; ${faults.join("; then ")}`;
}
