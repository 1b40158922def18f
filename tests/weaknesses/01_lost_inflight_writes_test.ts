/**
 * The original reports a write done that was already sent when the link dropped, and cleans its
 * extent: afterwards the nodes differ and say `complete`. Source: lost_inflight_writes.json.
 *
 * Seen to fail, all three, with this planted: nothing is marked in `Settlement.#markLacking` where the
 * remote part failed, nor by `markUnflushedStale` in `Primary.linkLost`.
 */
import { assertEquals } from "@std/assert";
import { type Cluster, firstDifference, RESOURCE } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random, testSeed } from "../support/random.ts";
import type { Relay } from "../support/relay.ts";
import { withRelayedCluster } from "../support/relayed_cluster.ts";
import { waitInSync } from "../support/status.ts";
import { waitFor } from "../support/wait.ts";

const BLOCK_BYTES = 4096;
const QUEUE_DEPTH = 16;
const CUT_COUNT = 2;
const WRITES_PER_LANE = 60;
const WRITES_BEFORE = 200;
/** What must be on its way when the link is cut: all requests of the queue. */
const HELD_BYTES = QUEUE_DEPTH * BLOCK_BYTES;

/** Random blocks, one after the other: few enough that a lost one is hardly written again. */
async function write(client: NbdClient, random: Random, written: () => void): Promise<void> {
  const blockCount = Math.floor(client.sizeBytes / BLOCK_BYTES);
  for (let i = 0; i < WRITES_PER_LANE; i++) {
    await client.write(random.below(blockCount) * BLOCK_BYTES, random.bytes(BLOCK_BYTES));
    written();
  }
}

/** Writes, and cuts the link when enough has been sent that will never arrive. */
async function writeAndCut(
  client: NbdClient,
  random: Random,
  relay: Relay,
): Promise<void> {
  let writtenCount = 0;
  const lane = () => write(client, random, () => writtenCount++);
  const writing = Promise.all(Array.from({ length: QUEUE_DEPTH }, lane));
  const cut = async () => {
    await waitFor("some writes are done", () => writtenCount >= WRITES_BEFORE);
    relay.hold("forward");
    await waitFor("requests are on their way", () => relay.heldBytes("forward") >= HELD_BYTES);
    const acceptedCount = relay.acceptedCount;
    relay.cut();
    await waitFor("the primary dials again", () => relay.acceptedCount >= acceptedCount + 2);
  };
  await Promise.all([writing, cut()]);
}

/** After all of it nothing may be lacking anywhere. */
async function loseSome(cluster: Cluster, relay: Relay): Promise<void> {
  const { a, b } = cluster;
  for (const node of [a, b]) await node.hastctlOk("create", "-e", "4096", "-k", "1", RESOURCE);
  await cluster.startPair();
  const random = new Random(testSeed());
  await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
  for (let i = 0; i < CUT_COUNT; i++) {
    await writeAndCut(client, random, relay);
    await a.waitComplete();
  }
  await client.flush();
  await waitInSync(a);
  const [left, right] = await Promise.all([a.readData(), b.readData()]);
  assertEquals(firstDifference(left, right), -1, "both components hold the same");
}

for (const mode of ["fullsync", "memsync", "async"]) {
  Deno.test(`weakness 1: ${mode}: writes that are lost on their way are made up for`, () =>
    withRelayedCluster(
      { resourceLines: [`replication ${mode}`], skipCreate: true },
      (cluster, relays) => loseSome(cluster, relays.b),
    ));
}
