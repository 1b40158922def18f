/** Components and workers that fail under a running pair: nothing is lost, and nothing hangs. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Cluster, firstDifference, Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient, NbdError } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { killHard, runOk } from "../support/process.ts";
import { Random, testSeed } from "../support/random.ts";
import { accepting, RecordingSecondary } from "../support/recording_secondary.ts";
import { CMD } from "../support/scripted_primary.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { Strace } from "../support/strace.ts";
import { waitFor, within } from "../support/wait.ts";
import { Model } from "../support/workload.ts";

const EIO = 5;
const BLOCK_BYTES = 4096;
const MIB = 1024 * 1024;
const EXTENT_BYTES = 2 * MIB;

async function workerPidOf(node: Node): Promise<number> {
  const pid = await node.workerPid();
  assert(pid !== undefined, `${node.name} has a worker`);
  return pid;
}

/** Has calls of a worker on its component fail, until it is disposed of. */
async function inject(node: Node, calls: string[], what: string): Promise<Strace> {
  return await Strace.attach(await workerPidOf(node), {
    path: node.componentPath,
    calls,
    inject: what,
    folder: node.folder,
  });
}

async function bothEqual({ a, b }: Cluster, expected?: Uint8Array): Promise<void> {
  const [left, right] = await Promise.all([a.readData(), b.readData()]);
  assertEquals(firstDifference(left, right), -1, "both components hold the same");
  if (expected !== undefined) assertEquals(firstDifference(left, expected), -1, "the right data");
}

testWith(
  ["linux", "root", "program strace"],
  "system calls that a signal interrupts are made again",
  () =>
    withCluster({}, async (cluster) => {
      await cluster.startPair();
      const calls = ["pwrite64", "pread64", "fdatasync", "fallocate"];
      await using _a = await inject(cluster.a, calls, "error=EINTR:when=1+2");
      await using _b = await inject(cluster.b, calls, "error=EINTR:when=2+3");
      await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
      const { dataBytes } = await cluster.a.layout();
      const model = new Model(client, new Random(testSeed()), new Uint8Array(dataBytes));
      await model.run({ operationCount: 300, queueDepth: 8, requestBytesMax: 64 * 1024 });
      await client.flush();
      await bothEqual(cluster, model.bytes);
      assertEquals((await statusOf(cluster.a)).localComponent?.state, "in-service");
    }),
);

testWith(
  ["linux", "root", "program prlimit"],
  "a write that ends short and then fails is carried by the other node",
  () =>
    withCluster({}, async (cluster) => {
      const { b } = cluster;
      const { name, address, port, folder, configPath } = cluster.a;
      // The limit of a file's size cuts a write short; its signal would end the worker.
      const ignoring = ["sh", "-c", `trap '' XFSZ; exec "$@"`, "sh"];
      const a = new Node(name, address, port, folder, configPath, ignoring);
      try {
        await Promise.all([a.start(), b.start()]);
        await b.role("secondary");
        await a.role("primary");
        await a.waitComplete();
        const pid = String(await workerPidOf(a));
        const { offsetBytes } = await a.layout();
        const limit = offsetBytes + MIB + BLOCK_BYTES / 2;
        await runOk("prlimit", "--pid", pid, `--fsize=${limit}:unlimited`);
        await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
        const data = new Random(41).bytes(BLOCK_BYTES);
        await client.write(MIB, data);
        assertEquals(await client.read(MIB, BLOCK_BYTES), data);
        assertEquals((await statusOf(a)).localComponent?.state, "out-of-service");
        await runOk("prlimit", "--pid", pid, "--fsize=unlimited:unlimited");
        await a.hastctlOk("attach", RESOURCE);
        await waitInSync(a);
        await bothEqual(cluster);
      } finally {
        await a.destroy();
      }
    }),
);

for (const mode of ["fullsync", "memsync"]) {
  Deno.test(`${mode}: what the other node could not write is marked before it is acknowledged`, () =>
    withCluster({ resourceLines: [`replication ${mode}`] }, async ({ a, b }) => {
      await a.start();
      await using secondary = new RecordingSecondary(b, () => accepting(a));
      await a.role("primary");
      const link = await secondary.link();
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      const write = client.write(EXTENT_BYTES, new Random(42).bytes(BLOCK_BYTES));
      const [asked] = await link.waitFor(CMD.write, 1);
      assert(asked !== undefined);
      await link.reply(asked.seq, EIO);
      await write;
      assertEquals((await mapOnDisk(a))[0], 0b10, "the second extent is dirty on the disk");
      assert(/localcnt: 1\n/.test(await a.hastctlOk("dump", RESOURCE)), "and localcnt is raised");
      assertEquals((await statusOf(a)).staleBytes, EXTENT_BYTES);
    }));
}

async function mapOnDisk(node: Node): Promise<Uint8Array> {
  const { offsetBytes } = await node.layout();
  return (await Deno.readFile(node.componentPath)).subarray(4096, offsetBytes);
}

testWith(
  ["linux", "root", "program strace"],
  "where no component can be written the user is told, and nothing hangs",
  () =>
    withCluster({}, async (cluster) => {
      const { a, b } = cluster;
      await cluster.startPair();
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      const before = new Random(43).bytes(BLOCK_BYTES);
      await client.write(0, before);
      {
        await using _a = await inject(a, ["pwrite64"], "error=EIO");
        await using _b = await inject(b, ["pwrite64"], "error=EIO");
        const write = client.write(0, new Random(44).bytes(BLOCK_BYTES));
        const error = await within("the write is answered", assertRejects(() => write, NbdError));
        assertEquals(error.errno, EIO);
        await within("a read is answered", client.read(0, BLOCK_BYTES));
      }
      await a.hastctl("attach", RESOURCE);
      await b.role("init"); // A component that has failed is looked at anew with a role.
      await b.role("secondary");
      await a.hastctlOk("reload");
      await waitFor("both are in sync again", async () => {
        const { status, staleBytes } = await statusOf(a);
        return status === "complete" && staleBytes === 0;
      }, 40_000);
      const after = new Random(45).bytes(BLOCK_BYTES);
      await client.write(0, after);
      assertEquals(await client.read(0, BLOCK_BYTES), after);
      await bothEqual(cluster);
    }),
);

Deno.test("a worker that crashes: clients see the end, connect again, and find their data", () =>
  withCluster({}, async (cluster) => {
    const { a } = cluster;
    await cluster.startPair();
    const data = new Random(46).bytes(BLOCK_BYTES);
    {
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      await client.write(0, data);
      const pid = await workerPidOf(a);
      killHard(pid);
      await within("the client's connection ends", client.ended());
      await waitFor("the export is there again", async () => {
        const next = await a.workerPid();
        return next !== undefined && next !== pid && await a.hasExport();
      });
    }
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    assertEquals(await client.read(0, BLOCK_BYTES), data);
    await client.write(BLOCK_BYTES, data);
    await waitInSync(a);
    await client.flush();
    await bothEqual(cluster);
  }));

Deno.test("a worker that crashes again and again is started later each time", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    await a.role("primary");
    for (const delayMs of [1_000, 2_000]) {
      const pid = await workerPidOf(a);
      const killedMs = performance.now();
      killHard(pid);
      await waitFor("a new worker", async () => {
        const next = await a.workerPid();
        return next !== undefined && next !== pid;
      });
      const tookMs = performance.now() - killedMs;
      assert(tookMs >= delayMs, `it was started after ${tookMs} ms, not ${delayMs}`);
    }
  }));
