/**
 * Two primaries on purpose, what must never be: after it, if both took writes, both nodes must say
 * so and touch nothing; if one of them did, its data must reach the other, and nobody may cry.
 * @module
 */
import { firstDifference, RESOURCE } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import type { Random } from "../support/random.ts";
import { waitFor } from "../support/wait.ts";
import type { ChaosNode } from "./chaos_node.ts";
import { BLOCK_BYTES, blockContent, type Ledger } from "./ledger.ts";
import type { Pair } from "./pair.ts";
import type { Fault } from "./plan.ts";
import type { RoundEnv } from "./round.ts";

const WRITE_COUNT = 40;
/** One reconnect: the primary dials every 10 s and has `timeout` for the handshake. */
const REPORT_DEADLINE_MS = 16_000;
const SPLIT_BRAIN = /[Ss]plit-brain/;

/**
 * Makes both nodes primary, lets them write, and makes one of them secondary again.
 *
 * @param env The pair is in sync and idle.
 * @param writers Which of the old (`first`) and the new (`second`) primary take writes.
 * @returns With one primary, connected, and the other node synchronised or about to be.
 */
export async function runTwoPrimaries(
  env: RoundEnv,
  writers: (Fault & { kind: "two-primaries" })["writers"],
  random: Random,
): Promise<void> {
  const { pair, journal } = env;
  const { primary: first, secondary: second } = pair;
  await pair.network.setCable(second.side, "down");
  await second.role("primary");
  journal.note("both nodes are primary");
  const firstStays = random.below(2) === 0;
  const [stays, yields] = firstStays ? [first, second] : [second, first];
  for (const [node, writes] of [[first, "first"], [second, "second"]] as const) {
    if (writers !== "both" && writers !== writes) continue;
    // Of two, the one that yields will lose what it has written.
    const survives = writers !== "both" || node === stays;
    await writeBlocks(node, random, survives ? env.ledger : undefined, env.ledger);
    journal.note(`${node.name} was written`);
  }
  const before = await Promise.all(pair.nodes.map((node) => pair.readData(node)));
  pair.primarySide = stays.side;
  const hooksBefore = pair.hookCalls().length;
  await yields.role("secondary");
  await pair.network.heal();
  journal.note(`${yields.name} yields, the network is whole`);
  if (writers === "both") {
    await waitReported(env, hooksBefore);
    await checkUntouched(env, before);
    await giveUp(pair, yields);
    journal.note(`what ${yields.name} had is given up`);
  }
  await pair.primary.waitComplete();
}

/** Writes some blocks and flushes; what must survive goes into `ledger`. */
async function writeBlocks(
  node: ChaosNode,
  random: Random,
  ledger: Ledger | undefined,
  stamps: Ledger,
): Promise<void> {
  await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
  for (let i = 0; i < WRITE_COUNT; i++) {
    const block = random.below(stamps.blockCount);
    const stamp = stamps.newStamp();
    ledger?.begin(block, stamp);
    await client.write(block * BLOCK_BYTES, blockContent(block, stamp));
    ledger?.acknowledge(block, stamp);
  }
  await client.flush();
}

async function waitReported({ pair, journal }: RoundEnv, hooksBefore: number): Promise<void> {
  for (const node of pair.nodes) {
    await waitFor(
      `${node.name} logs the split-brain`,
      () => SPLIT_BRAIN.test(pair.roundLog(node)),
      REPORT_DEADLINE_MS,
    );
    const call = `${node.name} split-brain ${RESOURCE}`;
    await waitFor(
      `${node.name} runs the split-brain hook`,
      () => pair.hookCalls().slice(hooksBefore).includes(call),
      REPORT_DEADLINE_MS,
    );
  }
  for (const node of pair.nodes) {
    const { connection } = await node.status();
    if (connection?.reason === "split-brain") continue;
    throw new Error(`The status of ${node.name} gives no reason: ${JSON.stringify(connection)}`);
  }
  journal.note("both nodes report the split-brain");
}

async function checkUntouched({ pair }: RoundEnv, before: Uint8Array[]): Promise<void> {
  for (const node of pair.nodes) {
    const different = firstDifference(
      before[node.side] ?? new Uint8Array(),
      await pair.readData(node),
    );
    if (different !== -1) {
      throw new Error(`${node.name} changed data in a split-brain, at data offset ${different}`);
    }
  }
}

/** The administrator decides whose data is lost: that component starts anew. */
async function giveUp(pair: Pair, node: ChaosNode): Promise<void> {
  await node.role("init");
  await pair.createComponent(node);
  await node.role("secondary");
}
