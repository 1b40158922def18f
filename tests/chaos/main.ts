/**
 * The chaos test: two real daemons, a writer, and one fault after the other.
 *
 * Usage: main.ts [--duration=SECONDS] [--seed=N] [--round=N]
 *
 * Runs rounds for `duration` (300), or only those that lead to one `round`. Exits with 1 where a
 * round failed, after it has printed how to repeat it; with 0 and the reason where this machine
 * cannot run the test.
 * @module
 */
import { missingNeeds, type Need } from "../support/needs.ts";
import { Journal } from "./journal.ts";
import { Ledger } from "./ledger.ts";
import { Network } from "./network.ts";
import { Pair } from "./pair.ts";
import { describeRound, drawEpisode, drawRound, EPISODE_ROUNDS, episodeOf } from "./plan.ts";
import { runRound } from "./round.ts";

const DURATION_SECONDS = 300;
const NEEDS: readonly Need[] = [
  "root",
  "linux",
  "fuse",
  "program ip",
  "program nsenter",
  "program pgrep",
  "program nbdkit",
  "program nbdfuse",
  "program fusermount3",
];

interface Options {
  seed: number;
  firstRound: number;
  /** The last round, where the number of rounds is given. */
  lastRound: number | undefined;
  durationMs: number;
}

function print(text: string): void {
  // deno-lint-ignore no-console
  console.log(text);
}

/** Options that are empty count as not given: `make chaos` passes them all. */
function parseOptions(args: readonly string[]): Options {
  const values = new Map<string, number>();
  for (const arg of args) {
    const [, name = "", value = ""] = /^--(duration|seed|round)=(\d*)$/.exec(arg) ?? [];
    if (name === "") throw new Error(`Cannot understand ${arg}`);
    if (value !== "") values.set(name, Number(value));
  }
  const round = values.get("round");
  return {
    seed: values.get("seed") ?? Math.floor(Math.random() * 2 ** 31),
    firstRound: round === undefined ? 0 : episodeOf(round) * EPISODE_ROUNDS,
    lastRound: round,
    durationMs: (values.get("duration") ?? DURATION_SECONDS) * 1000,
  };
}

/** tmpfs where there is one, as for the other tests. */
function makeFolder(): string {
  const wanted = Deno.env.get("HAST_TEST_DIR") ?? "/dev/shm";
  try {
    return Deno.makeTempDirSync({ prefix: "hast-chaos-", dir: wanted });
  } catch {
    return Deno.makeTempDirSync({ prefix: "hast-chaos-" });
  }
}

class Run {
  readonly #options: Options;
  readonly #network: Network;
  readonly #endMs: number;
  readonly #interruption = Promise.withResolvers<never>();
  #interrupted = false;
  #roundCount = 0;

  constructor(options: Options, network: Network) {
    this.#options = options;
    this.#network = network;
    this.#endMs = performance.now() + options.durationMs;
    this.#interruption.promise.catch(() => {}); // Nobody waits for it between two rounds.
  }

  /** Ends the round under way. A terminal interrupts the daemons too: it has come to nothing. */
  interrupt(): void {
    this.#interrupted = true;
    this.#interruption.reject(new Error("Interrupted"));
  }

  /** True if nothing was found. */
  async execute(): Promise<boolean> {
    for (let number = this.#options.firstRound; this.#goesOn(number);) {
      const next = await this.#episode(number);
      if (next === undefined) return false;
      number = next;
    }
    print(`${this.#roundCount} rounds passed, seed ${this.#options.seed}`);
    return true;
  }

  #goesOn(number: number): boolean {
    const { lastRound } = this.#options;
    if (this.#interrupted) return false;
    return lastRound === undefined ? performance.now() < this.#endMs : number <= lastRound;
  }

  /** Runs the rounds of an episode; returns the number after them, or undefined on a failure. */
  async #episode(firstNumber: number): Promise<number | undefined> {
    const episode = drawEpisode(this.#options.seed, episodeOf(firstNumber));
    const folder = makeFolder();
    print(`episode ${episode.number}: ${JSON.stringify(episode)}`);
    let pair: Pair | undefined;
    let number = firstNumber;
    let keepFolder = false;
    try {
      await this.#network.heal();
      pair = await Pair.create(folder, this.#network, episode);
      const ledger = new Ledger(await pair.blockCount());
      for (; number < firstNumber + EPISODE_ROUNDS && this.#goesOn(number); number++) {
        await this.#round(number, pair, ledger);
      }
      return number;
    } catch (error) {
      if (this.#interrupted) return undefined;
      keepFolder = true;
      this.#report(number, pair, error, folder);
      return undefined;
    } finally {
      await pair?.destroy();
      if (!keepFolder) Deno.removeSync(folder, { recursive: true });
    }
  }

  async #round(number: number, pair: Pair, ledger: Ledger): Promise<void> {
    const round = drawRound(this.#options.seed, number);
    const startMs = performance.now();
    const before = ledger.acknowledgedCount;
    using journal = new Journal(`${pair.folder}/requests.log`);
    print(`round ${number} (${pair.episode.replication}): ${describeRound(round)}`);
    try {
      const outcome = runRound(round, { pair, ledger, journal });
      outcome.catch(() => {}); // It goes on for a while after an interruption.
      await Promise.race([outcome, this.#interruption.promise]);
    } catch (error) {
      if (!this.#interrupted) print(journal.timeline());
      throw error;
    }
    this.#roundCount++;
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    print(`  passed in ${seconds} s, ${ledger.acknowledgedCount - before} blocks written`);
  }

  #report(number: number, pair: Pair | undefined, error: unknown, folder: string): void {
    print(pair?.lastLogLines() ?? "");
    print(error instanceof Error ? error.stack ?? error.message : String(error));
    if (error instanceof Error && error.cause !== undefined) print(`Cause: ${error.cause}`);
    print(`Logs, components and all requests are kept in ${folder}`);
    print(`FAILED round ${number}; again: make chaos SEED=${this.#options.seed} ROUND=${number}`);
  }
}

async function main(): Promise<number> {
  const options = parseOptions(Deno.args);
  const missing = missingNeeds(NEEDS);
  if (missing.length > 0) {
    print(`SKIPPED chaos test: ${missing.join(", ")}`);
    return 0;
  }
  let network: Network;
  try {
    network = await Network.create();
  } catch (error) {
    print(`SKIPPED chaos test: this machine makes no network namespaces (${error})`);
    return 0;
  }
  await using _removed = network;
  const run = new Run(options, network);
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => run.interrupt());
  }
  print(`chaos test, seed ${options.seed}`);
  return await run.execute() ? 0 : 1;
}

Deno.exit(await main());
