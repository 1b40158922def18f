/** How a primary comes to its secondary, keeps it, and notices that it has gone. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { withRelayedCluster } from "../support/relayed_cluster.ts";
import { CMD, request, ScriptedPrimary } from "../support/scripted_primary.ts";
import { accepting, RecordingSecondary } from "../support/recording_secondary.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { waitFor, within } from "../support/wait.ts";

const BLOCK_BYTES = 4096;
/** Well below the 10 s after which a primary dials again by itself. */
const AT_ONCE_MS = 7_000;

/** Within 1 s below and 4 s above, for a machine that has much to do. */
function isAboutTenSeconds(ms: number): void {
  assert(ms > 9_000 && ms < 14_000, `${Math.round(ms)} ms are not about 10 s`);
}

Deno.test("a primary whose secondary does not answer dials every 10 s", () =>
  withRelayedCluster({}, async ({ a }, { b: relay }) => {
    relay.refusing = true;
    await a.start();
    await a.role("primary");
    await waitFor("the first attempt", () => relay.acceptedCount > 0);
    const first = performance.now();
    const { acceptedCount } = relay;
    await waitFor("the next attempt", () => relay.acceptedCount > acceptedCount);
    isAboutTenSeconds(performance.now() - first);
  }));

Deno.test("a primary with nothing to say sends a keep-alive after 10 s", () =>
  withCluster({}, async ({ a, b }) => {
    await a.start();
    await using secondary = new RecordingSecondary(b, () => accepting(a));
    await a.role("primary");
    const link = await secondary.link();
    const [first] = await link.waitFor(CMD.keepalive, 1);
    const [second] = (await link.waitFor(CMD.keepalive, 2)).slice(1);
    assert(first !== undefined && second !== undefined);
    isAboutTenSeconds(second.atMs - first.atMs);
    assertEquals(first.fields.size, 1, "it says nothing else");
    assert(!link.ended, "nobody has to answer it");
  }));

Deno.test("a reload has a primary dial at once, though nothing has changed", () =>
  withRelayedCluster({}, async (cluster, { b: relay }) => {
    const { a, b } = cluster;
    relay.refusing = true;
    await Promise.all([a.start(), b.start()]);
    await b.role("secondary");
    await a.role("primary");
    await waitFor("an attempt has failed", () => relay.acceptedCount > 0);
    await a.waitLog(/Unable to receive handshake header/);
    relay.refusing = false;
    const { acceptedCount } = relay;
    await a.hastctlOk("reload");
    const connected = waitFor("the next attempt", () => relay.acceptedCount > acceptedCount);
    await within("at once", connected, AT_ONCE_MS);
    await a.waitComplete();
  }));

Deno.test("a secondary that takes requests and answers none is given up after the time-out", () =>
  withCluster(
    { globalLines: ["timeout 2"], resourceLines: ["replication fullsync"] },
    async ({ a, b }) => {
      await a.start();
      await using secondary = new RecordingSecondary(b, () => accepting(a));
      await a.role("primary");
      const link = await secondary.link();
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      const data = new Random(21).bytes(BLOCK_BYTES);
      await client.write(0, data); // Acknowledged once the other node does not count any more.
      assert(link.ended, "the link was given up before");
      assertEquals((await statusOf(a)).staleBytes, 2 << 20, "its extent is to be synchronised");
      const next = await secondary.link(1);
      const [first] = await next.waitFor(CMD.write, 1);
      assertEquals(first?.data.subarray(0, BLOCK_BYTES), data, "it comes with the synchronisation");
    },
  ));

Deno.test("a late reply that belongs to an old connection answers nothing", () =>
  withCluster({ resourceLines: ["replication async"] }, async ({ a, b }) => {
    await a.start();
    await using secondary = new RecordingSecondary(b, () => accepting(a));
    await a.role("primary");
    const old = await secondary.link();
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await client.write(0, new Random(22).bytes(BLOCK_BYTES));
    const [lost] = await old.waitFor(CMD.write, 1);
    assert(lost !== undefined);
    await old.close();
    const young = await secondary.link(1);
    const again = await young.waitFor(CMD.write, 1);
    for (const { seq } of again) assertNotEquals(seq, lost.seq, "no number comes twice");
    await young.reply(lost.seq);
    await waitFor("the connection is ended", () => young.ended);
    await a.waitLog(/Found no request matching received 'seq' field/);
    assertEquals((await statusOf(a)).staleBytes, 2 << 20, "the write is still to be synchronised");
  }));

Deno.test("a primary that meets another waits for it to become secondary", () =>
  withCluster({}, async ({ a, b }) => {
    await Promise.all([a.start(), b.start()]);
    for (const node of [a, b]) await node.role("primary");
    await b.waitLog(/Remote node acts as primary for the resource and not as secondary\./);
    await b.waitLog(/Waiting for remote node to become secondary for 20s\./);
    await a.role("secondary");
    await within("it does not wait for 10 s", b.waitComplete(), AT_ONCE_MS);
    assertEquals(b.log().match(/Waiting for remote node/g)?.length, 1, "said once");
  }));

Deno.test("a half-open connection gives way to the next primary", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await Promise.all([a.start(), b.start()]);
    await b.role("secondary");
    const { requests } = await ScriptedPrimary.firstStep(b);
    using _ = requests;
    await a.role("primary");
    await a.waitComplete();
    assertEquals(await requests.receive(), undefined, "the half-open one is closed");
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await client.write(0, new Random(23).bytes(BLOCK_BYTES));
    await cluster.waitSameData();
  }));

Deno.test("a new connection replaces the old one, whose writes are on the disk first", () =>
  withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    using old = await ScriptedPrimary.connect(b);
    const data = new Random(24).bytes(BLOCK_BYTES);
    const write = request(CMD.write, 7, 0, BLOCK_BYTES);
    assertEquals(await old.request([...write, ["size", "uint32", BLOCK_BYTES]], data), 0);
    const oldPid = await b.workerPid();
    using young = await ScriptedPrimary.connect(b);
    assertEquals(await old.replies.receive(), undefined, "the old one is closed");
    assertNotEquals(await b.workerPid(), oldPid, "its worker has ended");
    assertEquals(await young.request(request(CMD.read, 1, 0, BLOCK_BYTES)), 0);
    assertEquals((await b.readData()).subarray(0, BLOCK_BYTES), data);
  }));

Deno.test("a link that passes nothing in one direction is given up, and made again", () =>
  withRelayedCluster({ globalLines: ["timeout 2"] }, async (cluster, { b: relay }) => {
    const { a } = cluster;
    await cluster.startPair();
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    const random = new Random(25);
    for (const direction of ["forward", "backward"] as const) {
      const { acceptedCount } = relay;
      relay.hold(direction);
      await client.write(0, random.bytes(BLOCK_BYTES));
      await a.waitLog(/Unable to receive reply header: Operation timed out\./);
      relay.cut();
      await waitFor("it dials again", () => relay.acceptedCount >= acceptedCount + 2);
      await waitInSync(a);
    }
    await cluster.waitSameData();
  }));
