/** Components that will not do: each is named in the log, and the daemon serves on. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Cluster, Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient, NbdError } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { runOk, startLogged } from "../support/process.ts";
import { Random } from "../support/random.ts";
import { waitFor } from "../support/wait.ts";

const ENOSPC = 28;
const BLOCK_BYTES = 65_536;

/** Asks for role primary, which must fail with this line in the log and end in role init. */
async function failsToStart(node: Node, log: RegExp): Promise<void> {
  await node.hastctl("role", "primary", RESOURCE);
  await node.waitLog(log);
  await waitFor("the role is init again", async () => {
    return (await node.list()).get("role") === "init";
  });
  assertEquals(await node.hasExport(), false);
}

async function worksNow(node: Node): Promise<void> {
  await node.role("primary");
  await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
  await client.write(0, new Random(1).bytes(4096));
}

Deno.test("a component that is missing", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    await Deno.rename(a.componentPath, `${a.componentPath}.away`);
    await failsToStart(a, /\[ERROR\] \[disk0\] \(primary\) Unable to open .*nodea\.img: /);
    await Deno.rename(`${a.componentPath}.away`, a.componentPath);
    await worksNow(a);
  }));

Deno.test("a component that was never created", () =>
  withCluster({ skipCreate: true }, async ({ a }) => {
    await a.start();
    await failsToStart(a, /\[ERROR\] \[disk0\] \(primary\) .*nodea\.img/);
    await a.hastctlOk("create", RESOURCE);
    await worksNow(a);
  }));

Deno.test("a component of another resource", () =>
  withCluster({}, async (cluster) => {
    const { a } = cluster;
    const other = `${cluster.folder}/other.conf`;
    const text = await Deno.readTextFile(a.configPath);
    await Deno.writeTextFile(other, text.replaceAll(`resource ${RESOURCE}`, "resource other"));
    await a.start();
    await new Node(a.name, a.address, a.port, a.folder, other).hastctlOk("create", "other");
    await failsToStart(a, /Provider .*nodea\.img is not part of resource disk0\./);
    await a.hastctlOk("create", RESOURCE);
    await worksNow(a);
  }));

Deno.test("a component that has become too small for what its metadata says", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    const { size } = await Deno.stat(a.componentPath);
    await Deno.truncate(a.componentPath, size / 2);
    await failsToStart(a, /\[ERROR\] \[disk0\] \(primary\) .*nodea\.img/);
    await Deno.truncate(a.componentPath, size);
    await worksNow(a);
  }));

Deno.test("hastctl create refuses a component that has no room for data", () =>
  withCluster({ componentBytes: 4096, skipCreate: true }, async ({ a }) => {
    const result = await a.hastctl("create", RESOURCE);
    assert(result.code !== 0, "create fails");
    assertMatch(result.stderr, /^\[ERROR\] \[disk0\] /);
    await a.start();
    await failsToStart(a, /\[ERROR\] \[disk0\] \(primary\) .*nodea\.img/);
  }));

testWith(
  ["program flock"],
  "a component that another process has locked",
  () =>
    withCluster({}, async ({ a, folder }) => {
      await a.start();
      const ready = `${folder}/locked`;
      const holder = startLogged(`${folder}/flock.log`, "flock", [
        "--exclusive",
        "--no-fork",
        a.componentPath,
        "sh",
        "-c",
        `touch ${ready}; exec sleep 60`,
      ]);
      try {
        await waitFor("the lock", () => Deno.stat(ready).then(() => true, () => false));
        await failsToStart(a, /Unable to lock .*nodea\.img/);
      } finally {
        holder.kill("SIGTERM");
        await holder.status;
      }
      await worksNow(a);
    }),
);

/** Puts the component of one node on a file system that holds 16 MiB, the component being 64. */
async function withFullFileSystem(
  cluster: Cluster,
  node: Node,
  test: () => Promise<void>,
): Promise<void> {
  const folder = `${cluster.folder}/small`;
  await Deno.mkdir(folder);
  await runOk("mount", "-t", "tmpfs", "-o", "size=16m", "none", folder);
  try {
    await runOk("cp", "--sparse=always", node.componentPath, `${folder}/component`);
    await Deno.remove(node.componentPath);
    await Deno.symlink(`${folder}/component`, node.componentPath);
    await test();
  } finally {
    for (const each of cluster.nodes) await each.destroy();
    await runOk("umount", folder);
  }
}

/** Writes 24 MiB, of which the small file system holds 16; returns what was written. */
async function writeTooMuch(client: NbdClient): Promise<Uint8Array[]> {
  const random = new Random(9);
  const blocks: Uint8Array[] = [];
  for (let i = 0; i < 24 * 16; i++) {
    const data = random.bytes(BLOCK_BYTES);
    blocks.push(data);
    await client.write(i * BLOCK_BYTES, data);
  }
  return blocks;
}

async function readsBack(client: NbdClient, blocks: Uint8Array[]): Promise<void> {
  for (const [i, data] of blocks.entries()) {
    assertEquals(await client.read(i * BLOCK_BYTES, data.length), data, `block ${i}`);
  }
}

testWith(
  ["root", "linux"],
  "a primary alone on a full file system answers ENOSPC, serves on",
  () =>
    withCluster({}, (cluster) =>
      withFullFileSystem(cluster, cluster.a, async () => {
        const { a } = cluster;
        await a.start();
        await a.role("primary");
        await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
        const error = await assertRejects(() => writeTooMuch(client), NbdError);
        assertEquals(error.errno, ENOSPC);
        const first = new Random(9).bytes(BLOCK_BYTES);
        assertEquals(await client.read(0, BLOCK_BYTES), first);
        assert(!(await a.list()).get("local errors")?.includes("write: 0,"), "it is counted");
      })),
);

testWith(
  ["root", "linux"],
  "a primary on a full file system keeps all data on the other node",
  () =>
    withCluster({}, (cluster) =>
      withFullFileSystem(cluster, cluster.a, async () => {
        await cluster.startPair();
        await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
        await readsBack(client, await writeTooMuch(client));
      })),
);

testWith(
  ["root", "linux"],
  "a secondary on a full file system leaves the primary right",
  () =>
    withCluster({}, (cluster) =>
      withFullFileSystem(cluster, cluster.b, async () => {
        await cluster.startPair();
        const { a, b } = cluster;
        await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
        await readsBack(client, await writeTooMuch(client));
        assert(!(await a.list()).get("dirty")?.startsWith("0 "), "what the other lacks is dirty");
        await b.hastctlOk("status");
      })),
);
