/** Roles: what a change starts and ends, and what scripts of others look for. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { isAlive, killHard, pgrep } from "../support/process.ts";
import { Random } from "../support/random.ts";
import { waitFor, within } from "../support/wait.ts";

async function workerPidOf(node: Node): Promise<number> {
  const pid = await node.workerPid();
  assert(pid !== undefined, `${node.name} has a worker`);
  return pid;
}

Deno.test("a resource starts in role init, without a worker and without an export", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    const listing = await a.list();
    assertEquals(listing.get("role"), "init");
    assertEquals(listing.get("workerpid"), undefined);
    assertEquals(await a.hasExport(), false);
  }));

Deno.test("the export is there when hastctl role primary returns", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    await a.hastctlOk("role", "primary", RESOURCE);
    assertEquals(await a.hasExport(), true);
  }));

Deno.test("a primary that is out of date serves nobody before it has met its secondary", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    await a.crash();
    await b.role("primary");
    const newer = new Uint8Array(4096).fill(0x59);
    {
      await using client = await NbdClient.connect(b.nbdPath());
      await client.write(0, newer);
    }
    await b.role("secondary");
    await a.start();
    await a.hastctlOk("role", "primary", RESOURCE);
    await using client = await NbdClient.connect(a.nbdPath());
    assertEquals(await client.read(0, newer.length), newer);
  }));

Deno.test("hastctl status and list show a connected pair", () =>
  withCluster({ resourceLines: ["replication fullsync"] }, async (cluster) => {
    await cluster.startPair();
    const { a, b } = cluster;
    assertEquals(
      await a.hastctlOk("status"),
      "Name\tStatus\t Role\t\tComponents\n" +
        `${RESOURCE}\tcomplete primary        ${a.componentPath}\t${b.address}:${b.port}\n`,
    );
    assertMatch(await b.hastctlOk("status"), new RegExp(`^${RESOURCE}\tcomplete secondary  `, "m"));
    const listing = await a.list();
    assertEquals(listing.get("role"), "primary");
    assertEquals(listing.get("replication"), "fullsync");
    assertEquals(listing.get("status"), "complete");
    assertEquals(listing.get("localpath"), a.componentPath);
  }));

testWith(
  ["linux", "program pgrep"],
  "pgrep finds both workers by resource and role",
  () =>
    withCluster({}, async (cluster) => {
      await cluster.startPair();
      for (const [node, role] of [[cluster.b, "secondary"], [cluster.a, "primary"]] as const) {
        const pid = await node.workerPid();
        assert(pid !== undefined, `${node.name} has a worker`);
        const found = await pgrep(`hastd: ${RESOURCE} \\(${role}\\)`);
        assert(found.includes(pid), `${found} has ${pid}`);
        await node.role("init");
        assertEquals(await isAlive(pid), false, "the worker has ended once the role is set");
      }
    }),
);

Deno.test("roles change hands and back, each time with all data", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    const random = new Random(7);
    const written = new Map<number, Uint8Array>();
    for (const [primary, other] of [[a, b], [b, a], [a, b]] as const) {
      if (primary !== a || written.size > 0) await cluster.switchRoles(other, primary);
      await using client = await NbdClient.connect(primary.nbdPath(), RESOURCE);
      for (const [offsetBytes, data] of written) {
        assertEquals(await client.read(offsetBytes, data.length), data);
      }
      const data = random.bytes(128 * 1024);
      const offsetBytes = random.below(400) * data.length;
      await client.write(offsetBytes, data);
      written.set(offsetBytes, data);
    }
    await cluster.waitSameData();
  }));

Deno.test("the export goes with the role, and its clients see the end of the connection", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    await a.role("primary");
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await a.role("init");
    await within("the client's connection ends", client.ended());
    await assertRejects(() => client.read(0, 512));
    await waitFor("nobody listens any longer", async () => !(await a.hasExport()));
  }));

Deno.test("a primary without the other node takes writes and is degraded", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    await a.role("primary");
    const data = new Random(3).bytes(4096);
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await client.write(8192, data);
    assertEquals(await client.read(8192, data.length), data);
    const listing = await a.list();
    assertEquals(listing.get("status"), "degraded");
    assert(!listing.get("dirty")?.startsWith("0 "), "what the other node lacks is dirty");
  }));

Deno.test("a primary worker that is killed is started again", () =>
  withCluster({}, async (cluster) => {
    await cluster.startPair();
    const { a } = cluster;
    const pid = await workerPidOf(a);
    killHard(pid);
    await waitFor("a new worker", async () => {
      const next = await a.workerPid();
      return next !== undefined && next !== pid && await a.hasExport();
    });
    await a.waitComplete();
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await client.write(0, new Random(4).bytes(4096));
    await cluster.waitSameData();
  }));

Deno.test("SIGTERM ends both daemons with code 0 and leaves no worker, socket or pidfile", () =>
  withCluster({}, async (cluster) => {
    await cluster.startPair();
    for (const node of [cluster.b, cluster.a]) {
      const pid = await workerPidOf(node);
      assertEquals(await node.stop(), 0);
      assertEquals(await isAlive(pid), false, `the worker of ${node.name} has ended`);
      await node.waitLog(/\[INFO\] \[disk0\] \(\w+\) Termination signal received, exiting\./);
    }
    const { a, folder } = cluster;
    const left = [...Deno.readDirSync(folder), ...Deno.readDirSync(a.runFolder)];
    const names = left.map((entry) => entry.name);
    assertEquals(names.filter((name) => !/\.(conf|img|log|run)$/.test(name)), []);
  }));
