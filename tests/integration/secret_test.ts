/** Nodes with a secret: who is refused and why, changes on the way, files, replacement. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Cluster,
  type ClusterOptions,
  type Node,
  RESOURCE,
  withCluster,
} from "../support/cluster.ts";
import { FrameConn } from "../support/hast_wire.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { contains, firstFrameBytes, type StreamPlace, withProxy } from "../support/proxy.ts";
import { waitFor } from "../support/wait.ts";

const SECRET = "a secret that only the two nodes of this test know";
const OTHER = "another secret, which is as long as the first one";
const BOTH: ClusterOptions = { secrets: [SECRET, SECRET] };
const MARK = new Uint8Array(4096).fill(0x5a);

async function writeMark({ a }: Cluster): Promise<void> {
  await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
  await client.write(8192, MARK);
  await client.flush();
}

async function startBoth({ a, b, nodes }: Cluster): Promise<void> {
  await Promise.all(nodes.map((node) => node.start()));
  await b.role("secondary");
  await a.role("primary");
}

/** What the primary says of its connection, in `hastctl status --json`. */
async function connectionOf(node: Node): Promise<{ state: string; message: string }> {
  const document = JSON.parse(await node.hastctlOk("status", "--json"));
  return document.resources[0].connection;
}

/** Who refuses whom, and what both of them say. */
interface Mismatch {
  what: string;
  secrets: [string | undefined, string | undefined];
  primary: RegExp;
  secondary: RegExp;
}

const MISMATCHES: Mismatch[] = [
  {
    what: "different secrets",
    secrets: [SECRET, OTHER],
    primary: /Authentication failed: 127\.0\.0\.1:\d+ does not take our secret\./,
    secondary: /Authentication failed: Client tcp:\/\/127\.0\.0\.1:\d+ does not know the secret\./,
  },
  {
    what: "a secret on the secondary only",
    secrets: [undefined, SECRET],
    primary: /Authentication required: 127\.0\.0\.1:\d+ asks for a secret, we have none\./,
    secondary: /Authentication required: Client tcp:\/\/127\.0\.0\.1:\d+ offers none\./,
  },
  {
    what: "a secret on the primary only",
    secrets: [SECRET, undefined],
    primary: /Authentication failed: 127\.0\.0\.1:\d+ has no secret configured\./,
    secondary: /Authentication failed: Client tcp:\/\/127\.0\.0\.1:\d+ asks for a secret, none is/,
  },
];
for (const { what, secrets, primary, secondary } of MISMATCHES) {
  Deno.test(`nodes with ${what} refuse each other, and say who and why`, () =>
    withCluster({ secrets }, async (cluster) => {
      const { a, b } = cluster;
      const before = await Deno.readFile(b.componentPath);
      await startBoth(cluster);
      await a.waitLog(primary);
      await b.waitLog(secondary);
      const connection = await waitFor("the status tells", async () => {
        const now = await connectionOf(a);
        return now.state === "refused" && now;
      });
      assertMatch(connection.message, primary);
      await writeMark(cluster);
      assertEquals((await a.list()).get("status"), "degraded");
      assertEquals(await b.workerPid(), undefined);
      assertEquals(await Deno.readFile(b.componentPath), before);
    }));
}

Deno.test("who repeats the handshake of an earlier session gets nowhere", () =>
  withCluster(BOTH, (cluster) =>
    withProxy(cluster, async (proxy) => {
      await cluster.startPair();
      const { b } = cluster;
      const before = await b.workerPid();
      const [requests, replies] = proxy.recordings.map(({ toServer }) => toServer);
      assert(requests !== undefined && replies !== undefined);
      using first = await FrameConn.tcp(b.address, b.port);
      await first.send(requests); // The requests of the session behind the first frame as well.
      const answer = await first.receive();
      const token = answer?.get("token");
      assert(token instanceof Uint8Array, "the first step is one that the primary has proven");
      using second = await FrameConn.tcp(b.address, b.port);
      await second.send(replies);
      assertEquals((await second.receive())?.get("errmsg"), "Token doesn't match.");
      using third = await FrameConn.tcp(b.address, b.port);
      await third.send(withToken(replies, token));
      assertEquals((await third.receive())?.get("errmsg"), "Authentication failed.");
      await b.waitLog(/Authentication failed: Client \S+ did not prove its second step\./);
      assertEquals(await b.workerPid(), before, "the link is as it was");
      await writeMark(cluster);
      await cluster.waitSameData();
    })));

/** A second request with another token. */
function withToken(request: Uint8Array, token: Uint8Array): Uint8Array {
  const changed = request.slice();
  const nameAt = contains(changed, new TextEncoder().encode("token\0"))
    ? new TextDecoder("latin1").decode(changed).indexOf("token\0")
    : -1;
  assert(nameAt > 0);
  changed.set(token, nameAt + 8);
  return changed;
}

/** Where somebody between the nodes changes one bit, and who notices. */
interface Flip {
  what: string;
  place: StreamPlace;
  /**
   * In bytes behind the first frame of the stream; negative: within that frame, from its end. A
   * length is not changed: who waits for the rest of a record finds out by his time-out only.
   */
  at: number;
  by: "a" | "b";
  log: RegExp;
}

const FLIPS: Flip[] = [
  {
    what: "the first request",
    place: { connection: 0, toServer: true },
    at: -3,
    by: "b",
    log: /Authentication failed: Client \S+ does not know the secret\./,
  },
  {
    what: "the first answer",
    place: { connection: 0, toServer: false },
    at: -3,
    by: "a",
    log: /Authentication failed: \S+ does not know the secret\./,
  },
  {
    what: "the second request",
    place: { connection: 1, toServer: true },
    at: -20,
    by: "b",
    log: /Authentication failed: Client \S+ did not prove its second step\./,
  },
  {
    what: "the second answer",
    place: { connection: 0, toServer: false },
    at: 10,
    by: "a",
    log: /Unable to receive handshake header from \S+: Cannot open a record that was changed/,
  },
];
for (const { what, place, at, by, log } of FLIPS) {
  Deno.test(`a bit of ${what} that is changed on the way ends the handshake`, () =>
    withCluster(
      { ...BOTH, resourceLines: ["replication fullsync"] },
      (cluster) =>
        withProxy(cluster, async (proxy) => {
          const flip = flipper(place, at);
          proxy.tamper = flip.tamper;
          await startBoth(cluster);
          await writeMark(cluster);
          await cluster[by].waitLog(log);
          assertEquals(flip.count(), 1);
          await cluster.a.role("init"); // It would dial again in ten seconds.
          await cluster.a.role("primary");
          await cluster.a.waitComplete();
          await cluster.waitSameData();
        }),
    ));
}

const LINK_FLIPS: Omit<Flip, "at">[] = [
  {
    what: "a request",
    place: { connection: 0, toServer: true },
    by: "b",
    log: /Unable to receive request header: Authentication failed: a record was changed/,
  },
  {
    what: "a reply",
    place: { connection: 1, toServer: false },
    by: "a",
    log: /Unable to receive reply header: Authentication failed: a record was changed/,
  },
];
for (const { what, place, by, log } of LINK_FLIPS) {
  Deno.test(`a bit of ${what} that is changed on the way ends the link, and it is made anew`, () =>
    withCluster(
      { ...BOTH, resourceLines: ["replication fullsync"] },
      (cluster) =>
        withProxy(cluster, async (proxy) => {
          await cluster.startPair();
          const flip = flipper(place, undefined);
          proxy.tamper = flip.tamper;
          await writeMark(cluster);
          await cluster[by].waitLog(log);
          assertEquals(flip.count(), 1);
          await cluster.a.waitComplete();
          await cluster.waitSameData();
        }),
    ));
}

/**
 * Changes one bit, once.
 *
 * @param at See {@link Flip}; undefined: of the next record.
 */
function flipper({ connection, toServer }: StreamPlace, at: number | undefined) {
  let count = 0;
  const tamper = (place: StreamPlace, stream: Uint8Array, newAt: number): void => {
    if (count > 0 || place.connection !== connection || place.toServer !== toServer) return;
    const offset = at === undefined ? newAt + 10 : firstFrameBytes(stream) + at;
    if (offset < newAt || offset >= stream.length) return;
    stream[offset] = (stream[offset] ?? 0) ^ 4;
    count++;
  };
  return { tamper, count: () => count };
}

Deno.test("hastd starts with no secret that others may read, and keeps its own at such a reload", () =>
  withCluster(BOTH, async ({ a }) => {
    Deno.chmodSync(a.secretPath, 0o640);
    const result = await a.hastd("-F");
    assertEquals(result.code, 78);
    assertMatch(result.stderr, /Unable to use secret \S+: it is open to others .* chmod 600 it\./);
    Deno.chmodSync(a.secretPath, 0o600);
    await a.start();
    Deno.chmodSync(a.secretPath, 0o604);
    const reload = await a.hastctl("reload");
    assertEquals(reload.code, 78);
    assertMatch(reload.stderr, /Unable to use secret/);
  }));

Deno.test("a secret that can no longer be read lets nobody in", () =>
  withCluster(BOTH, async (cluster) => {
    const { a, b } = cluster;
    await Promise.all(cluster.nodes.map((node) => node.start()));
    await b.role("secondary");
    Deno.removeSync(b.secretPath);
    await a.role("primary");
    await b.waitLog(/Authentication failed. Client \S+ is refused: Unable to use secret/);
    await a.waitLog(/Authentication failed: \S+ does not take our secret\./);
    assertEquals(await b.workerPid(), undefined);
  }));

/** Gives a node these secrets, the first one to prove, and reloads it. */
async function useSecrets(node: Node, ...secrets: string[]): Promise<void> {
  const lines = secrets.map((secret, index) => {
    const path = `${node.folder}/${node.name}.${index}.${secret.length}.secret`;
    Deno.writeTextFileSync(path, secret, { mode: 0o600 });
    return `secret ${path}`;
  });
  const text = Deno.readTextFileSync(node.configPath).replaceAll(/^secret .*\n/gm, "");
  Deno.writeTextFileSync(node.configPath, `${lines.join("\n")}\n${text}`);
  await node.hastctlOk("reload");
}

Deno.test("a secret is replaced step by step, and the nodes find each other after each", () =>
  withCluster(BOTH, async (cluster) => {
    await cluster.startPair();
    for (const secrets of [[SECRET, OTHER], [OTHER, SECRET], [OTHER]]) {
      for (const node of cluster.nodes) {
        await useSecrets(node, ...secrets);
        await cluster.a.waitComplete();
      }
    }
    for (const node of cluster.nodes) {
      assert(!/Authentication (failed|required)/.test(node.log()), node.log());
    }
    await writeMark(cluster);
    await cluster.waitSameData();
  }));

Deno.test("a reload that brings a secret ends a link without authentication", () =>
  withCluster({ secrets: [undefined, undefined] }, async (cluster) => {
    const { a, b } = cluster;
    await cluster.startPair();
    await useSecrets(a, SECRET);
    await a.waitLog(/Authentication failed: \S+ has no secret configured\./);
    assertEquals((await a.list()).get("status"), "degraded");
    await useSecrets(b, SECRET);
    await a.role("init"); // It would dial again in ten seconds.
    await a.role("primary");
    await a.waitComplete();
    await a.waitLog(/Records are sealed with/);
  }));
