/** Bad input on the replication port: each gets its error, and the pair goes on undisturbed. */
import { assertEquals } from "@std/assert";
import { type Cluster, type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import {
  concat,
  type Entry,
  type Fields,
  frame,
  FrameConn,
  framePrefix,
} from "../support/hast_wire.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random, testSeed } from "../support/random.ts";
import { waitFor } from "../support/wait.ts";

const SILENT_COUNT = 64;
const HELLO: Entry[] = [["resource", "string", RESOURCE], ["version", "uint8", 2]];

/** What one bad first frame must lead to. */
interface Case {
  what: string;
  bytes: Uint8Array;
  /** The peer says that nothing follows. */
  end?: boolean;
  /** `errmsg` of the answer; where undefined the connection is closed without one. */
  answer?: string;
  log: RegExp;
}

const CASES: Case[] = [
  {
    what: "a version byte above ours",
    bytes: frame(HELLO, 3),
    log: /Unable to receive header from /,
  },
  {
    what: "a header of 4 GiB",
    bytes: framePrefix(2, 0xffffffff),
    log: /Unable to receive header from /,
  },
  {
    what: "a header that ends too soon",
    bytes: frame(HELLO).subarray(0, 20),
    end: true,
    log: /Unable to receive header from /,
  },
  {
    what: "an entry that runs past the end",
    bytes: concat(framePrefix(2, 16), new Uint8Array(16).fill(0x11)),
    log: /Unable to receive header from /,
  },
  {
    what: "a header of 0 bytes",
    bytes: framePrefix(2, 0),
    log: /(Unable to receive header|No 'resource' field in the header received) from /,
  },
  {
    what: "no resource",
    bytes: frame([["version", "uint8", 2]]),
    log: /No 'resource' field in the header received from /,
  },
  {
    what: "a resource that is not configured",
    bytes: frame([["resource", "string", "nosuch"], ["version", "uint8", 2]]),
    answer: "Resource not configured.",
    log: /No resource 'nosuch' as requested by /,
  },
  {
    what: "a token that was never given",
    bytes: frame([["resource", "string", RESOURCE], ["token", "bytes", new Uint8Array(16)]]),
    answer: "Token doesn't match.",
    log: /Token received from .* doesn't match/,
  },
  {
    what: "a token of another size",
    bytes: frame([["resource", "string", RESOURCE], ["token", "bytes", new Uint8Array(3)]]),
    log: /token of invalid size/,
  },
];

async function sendFirst(node: Node, bytes: Uint8Array, end = false): Promise<Fields | undefined> {
  using peer = await FrameConn.tcp(node.address, node.port);
  await peer.send(bytes);
  if (end) await peer.closeWrite();
  return await peer.receive();
}

async function writeSome(cluster: Cluster): Promise<void> {
  await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
  await client.write(4096, new Random(testSeed()).bytes(8192));
  await cluster.waitSameData();
}

/** Runs `disturb` on a connected pair, which must not notice. */
async function withUndisturbedPair(disturb: (cluster: Cluster) => Promise<void>): Promise<void> {
  await withCluster({}, async (cluster) => {
    await cluster.startPair();
    const before = await Promise.all(cluster.nodes.map((node) => node.workerPid()));
    await disturb(cluster);
    const after = await Promise.all(cluster.nodes.map((node) => node.workerPid()));
    assertEquals(after, before, "the workers are still the same");
    assertEquals((await cluster.a.list()).get("status"), "complete");
    await writeSome(cluster);
  });
}

Deno.test("bad first frames on the replication port are refused, the pair goes on", () =>
  withUndisturbedPair(async ({ b }) => {
    for (const { what, bytes, end, answer, log } of CASES) {
      const logged = b.log().length;
      const reply = await sendFirst(b, bytes, end);
      assertEquals(reply?.get("errmsg"), answer, what);
      await waitFor(`${what}: log ${log}`, () => log.test(b.log().slice(logged)));
    }
  }));

Deno.test("random bytes on the replication port are refused, the pair goes on", () =>
  withUndisturbedPair(async ({ b }) => {
    const random = new Random(testSeed());
    for (let i = 0; i < 100; i++) {
      const bytes = random.bytes(4 * (2 + random.below(200)));
      if (i % 2 === 0) bytes.set(framePrefix(2, bytes.length - 5));
      assertEquals(await sendFirst(b, bytes, true), undefined, "closed without an answer");
    }
  }));

Deno.test("a primary that is asked to be secondary says so, with wait", () =>
  withUndisturbedPair(async ({ a }) => {
    const reply = await sendFirst(a, frame(HELLO));
    assertEquals(
      reply?.get("errmsg"),
      "Remote node acts as primary for the resource and not as secondary.",
    );
    assertEquals(reply?.get("wait"), 1n);
  }));

Deno.test("a node in role init that is asked to be secondary says so, without wait", () =>
  withCluster({}, async ({ b }) => {
    await b.start();
    const reply = await sendFirst(b, frame(HELLO));
    assertEquals(
      reply?.get("errmsg"),
      "Remote node acts as init for the resource and not as secondary.",
    );
    assertEquals(reply?.has("wait"), false);
  }));

Deno.test("a peer whose address is no remote of ours is closed without a word", () =>
  withCluster({ addresses: "separate" }, async (cluster) => {
    await cluster.startPair(); // The right address is let in.
    // Ours is 127.0.0.1; node a knows only 127.0.0.2.
    assertEquals(await sendFirst(cluster.a, frame(HELLO)), undefined);
    await cluster.a.waitLog(/Client .* isn't known/);
    await writeSome(cluster);
  }));

Deno.test("peers that connect and say nothing keep nobody waiting", () =>
  withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await b.start();
    await b.role("secondary");
    const silent: FrameConn[] = [];
    try {
      for (let i = 0; i < SILENT_COUNT; i++) silent.push(await FrameConn.tcp(b.address, b.port));
      await b.hastctlOk("status");
      await a.start();
      await a.role("primary");
      await a.waitComplete();
      await writeSome(cluster);
    } finally {
      for (const peer of silent) peer[Symbol.dispose]();
    }
  }));
