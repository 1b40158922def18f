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
  /** kill -9, after some time frozen. `promote`: the other node takes over, where that is allowed. */
  | { kind: "kill"; role: Role; what: Processes; frozenMs: number; promote: boolean }
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
  warmupMs: number;
  steps: Step[];
}

/** Which component can fail, and how. */
export interface FaultyDisk {
  side: 0 | 1;
  operation: "pread" | "pwrite";
  ratePercent: number;
}

export interface Episode {
  number: number;
  replication: ReplicationMode;
  checksum: "none" | "crc32" | "sha256";
  compression: "none" | "hole" | "lzf";
  metaflush: "on" | "off";
  faultyDisk: FaultyDisk | undefined;
}

const MODES: readonly ReplicationMode[] = ["fullsync", "memsync", "async"];
/** Every third episode, and not always in the same mode. */
const FAULTY_DISK_EVERY = 4;
/** Shorter and longer than it takes to give up a link. */
const SHORT_MS = 400;
const LONG_MS = TIMEOUT_SECONDS * 1000 + 1200;

function kill(role: Role, what: Processes, promote = false, frozenMs = 0): Fault {
  return { kind: "kill", role, what, promote, frozenMs };
}

/** All first faults of a round but the disk's. */
const DECK: readonly Fault[] = [
  kill("primary", "main"),
  kill("primary", "worker"),
  kill("primary", "both"),
  kill("primary", "main", true),
  kill("primary", "both", true),
  kill("primary", "both", true, 300),
  kill("secondary", "main"),
  kill("secondary", "worker"),
  kill("secondary", "both"),
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

/** Whether a component of the episode can fail. */
function hasFaultyDisk(episodeNumber: number): boolean {
  return episodeNumber % FAULTY_DISK_EVERY === FAULTY_DISK_EVERY - 1;
}

/** The configuration of an episode; numbers start at 0. */
export function drawEpisode(seed: number, number: number): Episode {
  const random = stream(seed, 1, number);
  return {
    number,
    replication: MODES[(number + seed) % MODES.length] ?? "fullsync",
    checksum: pick(random, ["none", "none", "crc32", "sha256"] as const),
    compression: pick(random, ["hole", "hole", "none", "lzf"] as const),
    metaflush: pick(random, ["on", "on", "off"] as const),
    faultyDisk: !hasFaultyDisk(number) ? undefined : {
      side: pick(random, [0, 1] as const),
      operation: pick(random, ["pread", "pwrite", "pwrite"] as const),
      ratePercent: pick(random, [5, 100]),
    },
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
  return { number, seed: random.next(), warmupMs: 200 + random.below(1000), steps };
}

function isDiskRound(number: number): boolean {
  return hasFaultyDisk(episodeOf(number)) && number % 2 === 1;
}

function firstFault(seed: number, number: number): Fault {
  if (isDiskRound(number)) {
    return { kind: "disk", durationMs: 300 + stream(seed, 3, number).below(1200) };
  }
  let position = 0;
  for (let earlier = 0; earlier < number; earlier++) if (!isDiskRound(earlier)) position++;
  const deck = shuffled(stream(seed, 4, Math.floor(position / DECK.length)), DECK);
  return pickAt(deck, position % DECK.length);
}

function pickAt<T>(values: readonly T[], index: number): T {
  const value = values[index];
  if (value === undefined) throw new Error(`Cannot take value ${index} of ${values.length}`);
  return value;
}

/** A fault in words. */
export function describeFault(fault: Fault): string {
  switch (fault.kind) {
    case "kill": {
      const frozen = fault.frozenMs === 0 ? "" : ` after ${fault.frozenMs} ms of SIGSTOP`;
      return `kill -9 of ${fault.what} on the ${fault.role}${frozen}` +
        (fault.promote ? ", the other node takes over" : "");
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
    case "disk":
      return `a component fails for ${fault.durationMs} ms`;
    case "two-primaries":
      return `two primaries, written: ${fault.writers}`;
  }
}

/** A round in one line. */
export function describeRound(round: Round): string {
  return round.steps.map(({ fault }) => describeFault(fault)).join("; then ");
}
