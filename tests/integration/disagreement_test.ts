/** Nodes that must not connect: split-brain and different resources. No data is touched. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Cluster,
  firstDifference,
  type Node,
  RESOURCE,
  withCluster,
} from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { waitFor } from "../support/wait.ts";

const BLOCK_BYTES = 4096;

/** Every call is one line: arguments, then the environment. */
const HOOK = `#!/bin/sh
echo "$* HAST_RESOURCE=$HAST_RESOURCE HAST_ROLE=$HAST_ROLE HAST_PEER=$HAST_PEER HAST_REASON=$HAST_REASON" >> "\${0%hook}calls.$HAST_ROLE"
`;

/** A cluster whose hook notes its calls, by role. */
async function withHook(test: (cluster: Cluster) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/hook`, HOOK, { mode: 0o755 });
    await withCluster({ resourceLines: [`exec ${folder}/hook`] }, async (cluster) => {
      await test(cluster);
      for (const [node, role] of [[cluster.a, "primary"], [cluster.b, "secondary"]] as const) {
        const calls = await Deno.readTextFile(`${folder}/calls.${role}`);
        const other = node === cluster.a ? cluster.b : cluster.a;
        const expected = `split-brain ${RESOURCE} HAST_RESOURCE=${RESOURCE} HAST_ROLE=${role} ` +
          `HAST_PEER=${other.address}:${other.port} HAST_REASON=`;
        assert(calls.includes(expected), `${calls} has no '${expected}'`);
      }
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function writeAlone(node: Node, seed: number): Promise<void> {
  await node.role("primary");
  await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
  await client.write(seed * BLOCK_BYTES, new Random(seed).bytes(BLOCK_BYTES));
  await client.flush();
}

/** Waits until both nodes show why they do not connect. */
async function waitRefused({ a, b }: Cluster, reason: string, message: RegExp): Promise<void> {
  for (const node of [a, b]) {
    const connection = await waitFor(`${node.name} shows ${reason}`, async () => {
      const { connection } = await statusOf(node);
      return connection.state === "refused" && connection;
    });
    assertEquals(connection.reason, reason);
    assertMatch(connection.message ?? "", message);
    await node.waitLog(message);
  }
}

async function dataOf({ nodes }: Cluster): Promise<Uint8Array[]> {
  return await Promise.all(nodes.map((node) => node.readData()));
}

async function unchanged(cluster: Cluster, before: Uint8Array[]): Promise<void> {
  const after = await dataOf(cluster);
  after.forEach((data, i) => {
    assertEquals(firstDifference(data, before[i] ?? new Uint8Array()), -1, "no data is touched");
  });
}

Deno.test("both nodes written alone: split-brain on both, hooks run, no data touched", () =>
  withHook(async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    await b.stop();
    await writeAlone(a, 1);
    await a.stop();
    await b.start();
    await writeAlone(b, 2);
    await b.role("secondary");
    const before = await dataOf(cluster);
    await a.start();
    await a.role("primary");
    await waitRefused(cluster, "split-brain", /[Ss]plit-brain/);
    await unchanged(cluster, before);
    assertEquals((await statusOf(a)).status, "degraded");

    // The administrator gives up what node b has.
    await b.role("init");
    await b.hastctlOk("create", RESOURCE);
    await b.role("secondary");
    await a.hastctlOk("reload");
    await waitInSync(a);
    for (const node of [a, b]) assertEquals((await statusOf(node)).connection.state, "connected");
    const [left, right] = await dataOf(cluster);
    assertEquals(left, right);
  }));

Deno.test("only one node written alone: never a split-brain, whoever becomes primary", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    let seed = 1;
    // Written alone, and who is primary afterwards.
    for (const [writer, next] of [[a, b], [b, a], [a, a], [b, b]] as const) {
      const other = writer === a ? b : a;
      await other.stop();
      await writer.role("init");
      await writeAlone(writer, seed++);
      await other.start();
      await writer.role("init");
      await (next === a ? b : a).role("secondary");
      await next.role("primary");
      await waitInSync(next);
      await next.role("init");
    }
    for (const node of [a, b]) assert(!/[Ss]plit-brain/.test(node.log()), "no split-brain");
    const [left, right] = await dataOf(cluster);
    assertEquals(left, right);
  }));

Deno.test("two nodes of different resources: refused on both, no data touched", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    await a.role("init");
    await writeAlone(b, 1);
    // The other one belongs to another node now, which an administrator has mixed up.
    await a.hastctlOk("create", RESOURCE);
    await b.role("init");
    const before = await dataOf(cluster);
    await b.role("secondary");
    await a.role("primary");
    const message = /Resource unique ID mismatch \(primary=\d+, secondary=\d+\)\./;
    await waitRefused(cluster, "resuid-mismatch", message);
    await unchanged(cluster, before);
  }));
