/**
 * One round: load, faults, repair, and then the questions that matter.
 *
 * The hand that repairs follows the rules of an administrator. There are never two primaries: a
 * node is promoted only when the other one is dead, or has been told that it is none any more. And
 * a node is promoted only if it holds all that was acknowledged: in fullsync and memsync while
 * nothing has come between the nodes since they were last in sync, in async never after a crash.
 * @module
 */
import { RESOURCE } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { unreachable } from "../../base/errors.ts";
import type { ChaosNode } from "./chaos_node.ts";
import type { Journal } from "./journal.ts";
import { BLOCK_BYTES, describeFinding, type Ledger } from "./ledger.ts";
import { otherSide } from "./network.ts";
import type { Pair } from "./pair.ts";
import { describeFault, type Fault, type Round, type Step } from "./plan.ts";
import { runTwoPrimaries } from "./two_primaries.ts";
import { Writer } from "./writer.ts";

/** How soon writes must go on once everything is repaired. */
const PROGRESS_DEADLINE_MS = 20_000;
const READ_BYTES = 512 * 1024;

const SPLIT_BRAIN = /[Ss]plit-brain/;

/** What a round works on. */
export interface RoundEnv {
  pair: Pair;
  ledger: Ledger;
  journal: Journal;
}

type Kill = Fault & { kind: "kill" };
type PowerCut = Fault & { kind: "power-cut" };
type TwoPrimaries = Fault & { kind: "two-primaries" };

function hasSplitBrain({ fault }: Step): boolean {
  return fault.kind === "two-primaries" && fault.writers === "both";
}

/** Runs a round. Throws what it finds wrong. */
export async function runRound(round: Round, env: RoundEnv): Promise<void> {
  const run = new RoundRun(round, env);
  try {
    await run.execute();
  } finally {
    run.writer.abandon();
  }
}

class RoundRun {
  readonly writer: Writer;
  readonly #round: Round;
  readonly #env: RoundEnv;
  /** The secondary holds all that was acknowledged: nothing has come between the nodes. */
  #secondaryIsCurrent = true;

  constructor(round: Round, env: RoundEnv) {
    this.#round = round;
    this.#env = env;
    this.writer = new Writer({
      ledger: env.ledger,
      journal: env.journal,
      random: new Random(round.seed),
      exportName: RESOURCE,
      load: round.load,
    });
  }

  get #pair(): Pair {
    return this.#env.pair;
  }

  #note(text: string): void {
    this.#env.journal.note(text);
  }

  async execute(): Promise<void> {
    this.#pair.beginRound();
    this.writer.aim(this.#pair.primary.nbdPath());
    this.writer.start();
    await this.writer.waitProgress("the round begins", PROGRESS_DEADLINE_MS);
    await this.writer.writeFor(this.#round.warmupMs);
    for (const { fault, thenMs } of this.#round.steps) {
      this.#note(describeFault(fault));
      await this.#inflict(fault);
      await this.writer.writeFor(thenMs);
    }
    await this.#repair();
    await this.writer.stop();
    this.#note(
      `the writer has stopped; its longest wait was ${Math.round(this.writer.longestGapMs)} ms`,
    );
    await checkDisk(this.#env);
    this.#pair.checkLogs(this.#round.steps.some(hasSplitBrain) ? [] : [SPLIT_BRAIN]);
  }

  async #inflict(fault: Fault): Promise<void> {
    switch (fault.kind) {
      case "kill":
        return await this.#kill(fault);
      case "power-cut":
        return await this.#cutPower(fault);
      case "kill-pair":
        return await this.#killPair();
      case "freeze":
        return await this.#freeze(fault);
      case "cable":
      case "mute":
        return await this.#cut(fault);
      case "swap":
        return await this.#swap();
      case "restart":
        return await this.#restart(this.#pair.byRole(fault.role));
      case "disk":
        return await this.#failDisk(fault.durationMs);
      case "two-primaries":
        return await this.#twoPrimaries(fault.writers);
      default:
        unreachable(fault);
    }
  }

  async #kill({ role, what, before, beforeMs, promote }: Kill): Promise<void> {
    const node = this.#pair.byRole(role);
    const takesOver = role === "primary" && promote && this.#mayPromote();
    this.#secondaryIsCurrent = false;
    if (before === "frozen") await node.freeze("both");
    if (before === "no-cable") await this.#pair.network.setCable(node.side, "down");
    await this.writer.writeFor(beforeMs);
    await node.kill(what);
    node.thaw();
    // The kernel would go on sending what the dead had left in its sockets.
    if (takesOver) await this.#promoteOther();
    await this.#pair.network.heal();
    if (!takesOver && !node.running) await this.#startAs(node, role);
  }

  async #cutPower({ role, noCableMs, promote }: PowerCut): Promise<void> {
    const node = this.#pair.byRole(role);
    const takesOver = role === "primary" && promote && this.#mayPromote();
    // A primary that goes on alone afterwards may have lost what its user had not flushed.
    if (role === "primary" && !takesOver) return;
    this.#secondaryIsCurrent = false;
    await this.#pair.network.setCable(node.side, "down");
    await this.writer.writeFor(noCableMs);
    await node.cutPower();
    if (takesOver) await this.#promoteOther();
    await this.#pair.network.heal();
    await node.component?.restorePower();
    if (!takesOver) await this.#startAs(node, role);
  }

  #mayPromote(): boolean {
    const allowed = this.#secondaryIsCurrent && this.#pair.episode.replication !== "async";
    if (!allowed) this.#note("no promotion: the other node may lack something");
    return allowed;
  }

  /** The primary is dead, or none any more. */
  async #promoteOther(): Promise<void> {
    const pair = this.#pair;
    this.writer.aim(undefined);
    pair.primarySide = otherSide(pair.primarySide);
    await pair.primary.role("primary");
    this.#note(`${pair.primary.name} has taken over`);
    this.writer.aim(pair.primary.nbdPath());
  }

  async #killPair(): Promise<void> {
    const { primary, secondary } = this.#pair;
    this.#secondaryIsCurrent = false;
    await Promise.all([primary.kill("both"), secondary.kill("both")]);
    await Promise.all([this.#startAs(secondary, "secondary"), this.#startAs(primary, "primary")]);
  }

  async #startAs(node: ChaosNode, role: "primary" | "secondary"): Promise<void> {
    await node.start();
    await node.role(role);
    this.#note(`${node.name} runs again, as ${role}`);
  }

  async #freeze({ role, what, durationMs }: Fault & { kind: "freeze" }): Promise<void> {
    const node = this.#pair.byRole(role);
    this.#secondaryIsCurrent = false;
    await node.freeze(what);
    await this.writer.writeFor(durationMs);
    node.thaw();
    this.#note("SIGCONT");
  }

  async #cut({ kind, role, durationMs }: Fault & { kind: "cable" | "mute" }): Promise<void> {
    const { network } = this.#pair;
    const { side } = this.#pair.byRole(role);
    this.#secondaryIsCurrent = false;
    if (kind === "cable") await network.setCable(side, "down");
    else await network.dropFrom(side);
    await this.writer.writeFor(durationMs);
    await network.heal();
    this.#note("the network is whole");
  }

  /** A role change as an administrator does it, the load going on. */
  async #swap(): Promise<void> {
    if (!this.#secondaryIsCurrent) return this.#note("no swap: the other node may lack something");
    const { primary, secondary } = this.#pair;
    const isAsync = this.#pair.episode.replication === "async";
    if (isAsync) {
      // What async has acknowledged may still be on its way: only an idle disk may change hands.
      await this.writer.pause();
      await waitSynchronised(this.#env);
    }
    this.writer.aim(undefined);
    await primary.role("secondary");
    this.#pair.primarySide = secondary.side;
    await secondary.role("primary");
    this.writer.aim(secondary.nbdPath());
    this.writer.resume();
    this.#note(`${secondary.name} is primary`);
    this.#secondaryIsCurrent = false;
  }

  async #restart(node: ChaosNode): Promise<void> {
    const role = node === this.#pair.primary ? "primary" : "secondary";
    this.#secondaryIsCurrent = false;
    const code = await node.stop();
    if (code !== 0) throw new Error(`hastd of ${node.name} ended with ${code} on SIGTERM`);
    await node.waitGone();
    await this.#startAs(node, role);
  }

  /** While it lasts, requests may fail: the errors are the disk's, and the user is told of them. */
  async #failDisk(durationMs: number): Promise<void> {
    const node = this.#pair.nodes.find(({ component }) => component !== undefined);
    const component = node?.component;
    if (node === undefined || component === undefined) {
      throw new Error("No component of this episode can fail");
    }
    this.#note(`the component of the ${node === this.#pair.primary ? "primary" : "secondary"}`);
    this.#secondaryIsCurrent = false;
    this.writer.allowErrors(true);
    component.setFailing(true);
    await this.writer.writeFor(durationMs);
    component.setFailing(false);
    this.#note("the component works again");
    const { localComponent } = await node.status();
    if (localComponent?.state === "out-of-service") await this.#bringBack(node);
  }

  /**
   * A component that could not be written is out of service until an administrator looks at it:
   * either it is attached again, or the other node, which has everything, becomes primary.
   */
  async #bringBack(node: ChaosNode): Promise<void> {
    if (this.#round.seed % 2 === 0) {
      this.#note(
        `${node.name} attaches its component: ${await node.hastctlOk("attach", RESOURCE)}`,
      );
      return;
    }
    this.writer.aim(undefined);
    await node.role("secondary");
    await this.#promoteOther();
  }

  async #twoPrimaries(writers: TwoPrimaries["writers"]): Promise<void> {
    await this.writer.pause();
    await waitSynchronised(this.#env);
    this.writer.aim(undefined);
    await runTwoPrimaries(this.#env, writers, new Random(this.#round.seed ^ 1));
    this.writer.aim(this.#pair.primary.nbdPath());
    this.writer.resume();
  }

  /** Whatever was broken works again, and each node has its role. */
  async #repair(): Promise<void> {
    await this.#pair.network.heal();
    for (const node of this.#pair.nodes) {
      node.thaw();
      if (!node.running) {
        await this.#startAs(node, node === this.#pair.primary ? "primary" : "secondary");
      }
    }
    // Else the primary dials every 10 s.
    await this.#pair.primary.hastctlOk("reload");
    this.#note("all is repaired");
    await this.writer.waitProgress("all is repaired", PROGRESS_DEADLINE_MS);
    this.writer.allowErrors(false);
  }
}

/** Waits until an idle pair is in sync, to the byte. */
async function waitSynchronised({ pair, journal }: RoundEnv): Promise<Uint8Array<ArrayBuffer>> {
  await pair.waitWhole();
  await using client = await NbdClient.connect(pair.primary.nbdPath(), RESOURCE);
  await client.flush();
  return await pair.waitEqual(journal);
}

/**
 * The questions: is everything there, as the user reads it and on both disks?
 *
 * The reads do not wait for the synchronisation: a primary serves no stale data meanwhile either.
 */
async function checkDisk(env: RoundEnv): Promise<void> {
  const { pair, ledger, journal } = env;
  await readBack(env);
  journal.note("read back through the primary");
  const data = await waitSynchronised(env);
  journal.note("both components are equal");
  const finding = ledger.adopt(0, data.slice(0, ledger.blockCount * BLOCK_BYTES));
  if (finding !== undefined) {
    throw new Error(`Both components hold what they must not: ${describeFinding(finding)}`);
  }
  journal.note(`${pair.primary.name} is primary, ${ledger.acknowledgedCount} blocks written`);
}

async function readBack({ pair, ledger }: RoundEnv): Promise<void> {
  await using client = await NbdClient.connect(pair.primary.nbdPath(), RESOURCE);
  const sizeBytes = ledger.blockCount * BLOCK_BYTES;
  for (let offsetBytes = 0; offsetBytes < sizeBytes; offsetBytes += READ_BYTES) {
    const data = await client.read(offsetBytes, Math.min(READ_BYTES, sizeBytes - offsetBytes));
    const finding = ledger.check(offsetBytes / BLOCK_BYTES, data.slice());
    if (finding !== undefined) {
      throw new Error(
        `${pair.primary.name} does not serve what it must: ${describeFinding(finding)}`,
      );
    }
  }
}
