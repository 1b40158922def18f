/** Synchronisation of two real nodes: in both directions, under load, interrupted, with holes. */
import { assert, assertEquals } from "@std/assert";
import {
  type Cluster,
  firstDifference,
  type Node,
  RESOURCE,
  withCluster,
} from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random, testSeed } from "../support/random.ts";
import { reconfigure } from "../support/reconfigure.ts";
import { withRelayedCluster } from "../support/relayed_cluster.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { waitFor } from "../support/wait.ts";
import { Model } from "../support/workload.ts";

const MIB = 1024 * 1024;
const SLOW: [string, string] = ["sync-rate 2M", "sync-rate none"];
const SLOWLY = { resourceLines: ["sync-rate 8M"] };
const LOAD = { operationCount: 1_500, queueDepth: 16, requestBytesMax: 256 * 1024 };

async function fill(client: NbdClient, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length; at += MIB) await client.write(at, data.subarray(at, at + MIB));
}

/** Writes all of the disk of `node`, which is primary; returns what it holds. */
async function fillDisk(node: Node, random: Random): Promise<Uint8Array<ArrayBuffer>> {
  await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
  const data = random.bytes(Math.floor(client.sizeBytes / 4) * 4);
  await fill(client, data);
  await client.flush();
  return data;
}

async function bothEqual({ a, b }: Cluster, expected?: Uint8Array): Promise<void> {
  const [left, right] = await Promise.all([a.readData(), b.readData()]);
  assertEquals(firstDifference(left, right), -1, "both components hold the same");
  if (expected !== undefined) assertEquals(firstDifference(left, expected), -1, "the right data");
}

/** Random requests on `primary` while it is synchronised slowly, then the rest at full speed. */
async function loadMeanwhile(cluster: Cluster, primary: Node, expected: Uint8Array): Promise<void> {
  const seed = testSeed();
  try {
    await waitFor("the synchronisation runs", async () => {
      return (await statusOf(primary)).sync?.active === true;
    });
    await using client = await NbdClient.connect(primary.nbdPath(), RESOURCE);
    const model = new Model(client, new Random(seed), expected);
    await model.run(LOAD);
    assertEquals((await statusOf(primary)).sync?.active, true, "it was running all the time");
    await reconfigure(cluster, primary, SLOW);
    await client.flush();
    await waitInSync(primary);
    await bothEqual(cluster, model.bytes);
  } catch (error) {
    throw new Error(`Repeat with HAST_TEST_SEED=${seed}`, { cause: error });
  }
}

Deno.test("a stale secondary: reads, writes and deletes meanwhile, then both as the model", () =>
  withCluster({ resourceLines: ["sync-rate 2M"] }, async (cluster) => {
    const { a, b } = cluster;
    await a.start();
    await a.role("primary");
    const data = await fillDisk(a, new Random(31));
    await b.start();
    await b.role("secondary");
    await a.hastctlOk("reload");
    await loadMeanwhile(cluster, a, data);
  }));

/** Node a is in sync, then misses what node b, primary in the meantime, writes alone. */
async function leaveBehind({ a, b }: Cluster, random: Random): Promise<Uint8Array<ArrayBuffer>> {
  await a.stop();
  await b.role("primary");
  const data = await fillDisk(b, random);
  await b.role("secondary");
  await a.start();
  await a.role("primary");
  await a.waitComplete();
  return data;
}

Deno.test("a stale primary: reads come from the other node, then both are as the model", () =>
  withCluster({ resourceLines: ["sync-rate 2M"] }, async (cluster) => {
    await cluster.startPair();
    const data = await leaveBehind(cluster, new Random(32));
    const { sync } = await statusOf(cluster.a);
    assertEquals(sync?.direction, "from-peer");
    await loadMeanwhile(cluster, cluster.a, data);
  }));

for (const stale of ["secondary", "primary"] as const) {
  Deno.test(`a stale ${stale}: an interrupted synchronisation goes on where it stopped`, () =>
    withRelayedCluster({ ...SLOWLY, skipCreate: true }, async (cluster, { b: relay }) => {
      const { a, b } = cluster;
      // What is kept dirty anyhow may be copied again.
      for (const node of [a, b]) await node.hastctlOk("create", "-k", "1", RESOURCE);
      if (stale === "primary") {
        await cluster.startPair();
        await leaveBehind(cluster, new Random(33));
      } else {
        await a.start();
        await a.role("primary");
        await fillDisk(a, new Random(34));
        await b.start();
        await b.role("secondary");
        await a.hastctlOk("reload");
      }
      const total = await waitFor("it begins", async () => (await statusOf(a)).staleBytes ?? false);
      const halfway = await waitFor("a part of it is done", async () => {
        const { staleBytes } = await statusOf(a);
        return staleBytes !== null && staleBytes < total / 2 && staleBytes;
      });
      const { acceptedCount } = relay;
      relay.cut();
      await waitFor("it dials again", () => relay.acceptedCount >= acceptedCount + 2);
      await waitFor("it goes on", () => a.log().match(/Synchronization started/g)?.length === 2);
      const [, rest = ""] = [...a.log().matchAll(/Synchronization started\. (\d+)\.?\d*MB to go/g)]
        .map(([, megabytes]) => megabytes);
      assert(rest !== "", "it says how much is left");
      assert(
        Number(rest) * MIB < halfway + 24 * MIB,
        `${rest} MiB are left where ${halfway} bytes were`,
      );
      await reconfigure(cluster, a, ["sync-rate 8M", "sync-rate none"]);
      await waitInSync(a);
      await bothEqual(cluster);
    }));
}

Deno.test("zeros travel as holes and are punched on the other node, whatever it had there", () =>
  withRelayedCluster({}, async (cluster, { b: relay }) => {
    const { a, b } = cluster;
    await Deno.writeFile(b.componentPath, new Random(35).bytes(64 * MIB));
    await b.hastctlOk("create", RESOURCE);
    await a.start();
    await a.role("primary");
    {
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      await client.write(0, new Random(36).bytes(MIB));
    }
    await b.start();
    await b.role("secondary");
    await a.hastctlOk("reload");
    await a.waitComplete();
    await waitInSync(a);
    await bothEqual(cluster);
    const { blocks } = await Deno.stat(b.componentPath);
    assert(blocks !== null && blocks * 512 < 4 * MIB, `${blocks} blocks are not punched`);
    const passed = relay.passedBytes("forward");
    assert(passed < 2 * MIB, `${passed} bytes are too many for holes and 1 MiB of data`);
  }));

Deno.test("two nodes that were never used have nothing to synchronise", () =>
  withCluster({}, async (cluster) => {
    await cluster.startPair();
    assert(!cluster.a.log().includes("Synchronization"), "not even for a moment");
    assertEquals((await statusOf(cluster.a)).dirtyBytes, 0);
  }));

Deno.test("a secondary that was made anew gets everything", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    const data = await fillDisk(a, new Random(37));
    await b.stop();
    await b.hastctlOk("create", RESOURCE);
    await b.start();
    await b.role("secondary");
    await a.hastctlOk("reload");
    await a.waitLog(/Synchronization started\. 64MB to go\./);
    await waitInSync(a);
    await bothEqual(cluster, data);
  }));
