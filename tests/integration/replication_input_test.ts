/** Bad input on the replication port: each gets its error, and the pair goes on undisturbed. */
import { assert, assertEquals, assertMatch } from "@std/assert";
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
    answer: "Token doesn't match.",
    log: /Token received from .* doesn't match|Token size invalid/,
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
      const bytes = random.bytes(4 * (1 + random.below(200)));
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

/** A primary played by the test: both connections, the handshake done. */
class ScriptedPrimary implements Disposable {
  private constructor(readonly requests: FrameConn, readonly replies: FrameConn) {}

  static async connect(node: Node): Promise<ScriptedPrimary> {
    const requests = await FrameConn.tcp(node.address, node.port);
    await requests.send(frame(HELLO, 1));
    const token = (await requests.receive())?.get("token");
    assert(token instanceof Uint8Array, "the secondary gives a token");
    const replies = await FrameConn.tcp(node.address, node.port);
    await replies.send(frame([
      ["resource", "string", RESOURCE],
      ["token", "bytes", token],
      ["virgin", "int8", 1],
      ["resuid", "uint64", 4711n],
      ["localcnt", "uint64", 0],
      ["remotecnt", "uint64", 0],
    ]));
    const answer = await requests.receive();
    assertEquals(answer?.get("errmsg"), undefined);
    return new ScriptedPrimary(requests, replies);
  }

  /** Sends a request; the error of its reply, 0 for success, undefined where the peer closed. */
  async request(
    entries: Entry[],
    data: Uint8Array = new Uint8Array(),
  ): Promise<number | undefined> {
    await this.requests.send(frame(entries, 2, data));
    const reply = await this.replies.receive();
    return reply === undefined ? undefined : Number(reply.get("error") ?? 0n);
  }

  [Symbol.dispose](): void {
    this.requests[Symbol.dispose]();
    this.replies[Symbol.dispose]();
  }
}

const [READ, WRITE, DELETE, FLUSH] = [1, 2, 3, 4] as const;
const EINVAL = 22;
const SECTOR = new Uint8Array(512).fill(0x5a);

function request(command: number, seq: number, offset: number | bigint, length: number): Entry[] {
  return [
    ["cmd", "uint8", command],
    ["seq", "uint64", seq],
    ["offset", "uint64", offset],
    ["length", "uint64", length],
  ];
}

async function withScriptedPrimary(
  test: (primary: ScriptedPrimary, node: Node) => Promise<void>,
): Promise<void> {
  await withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    {
      using primary = await ScriptedPrimary.connect(b);
      await test(primary, b);
    }
    using next = await ScriptedPrimary.connect(b);
    assertEquals(await next.request(request(READ, 1, 0, 512)), 0, "the next primary is served");
  });
}

Deno.test("a secondary answers invalid requests with EINVAL and stays in step", () =>
  withScriptedPrimary(async (primary, b) => {
    const { dataBytes } = await b.layout();
    const size: Entry = ["size", "uint32", SECTOR.length];
    const invalid: [string, Entry[], Uint8Array?][] = [
      ["offset between sectors", request(READ, 11, 100, 512)],
      ["length between sectors", request(READ, 12, 0, 100)],
      ["length 0", request(READ, 13, 0, 0)],
      ["too long", request(READ, 14, 0, 1 << 30)],
      ["past the end", request(READ, 15, dataBytes, 512)],
      ["offset and length wrap around", request(READ, 16, 2n ** 64n - 512n, 1024)],
      ["delete past the end", request(DELETE, 17, dataBytes, 1 << 20)],
      ["write between sectors", [...request(WRITE, 18, 100, 512), size], SECTOR],
      ["write past the end", [...request(WRITE, 19, dataBytes, 512), size], SECTOR],
    ];
    for (const [what, entries, data] of invalid) {
      assertEquals(await primary.request(entries, data), EINVAL, what);
    }
    assertEquals(
      await primary.request([...request(WRITE, 20, dataBytes - 512, 512), size], SECTOR),
      0,
    );
    assertEquals(await primary.request(request(READ, 21, dataBytes - 512, 512)), 0);
    assertEquals(await primary.request(request(FLUSH, 22, 0, 0)), 0);
    assertEquals((await b.readData()).subarray(-512), SECTOR, "the right write is on the disk");
  }));

const FATAL: [string, Uint8Array][] = [
  [
    "more data than any request may have",
    frame([...request(WRITE, 31, 0, 512), ["size", "uint32", 0xf0000000]], 2, SECTOR),
  ],
  [
    "an unknown checksum",
    frame(
      [
        ...request(WRITE, 32, 0, 512),
        ["checksum", "string", "md5"],
        ["hash", "bytes", new Uint8Array(16)],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "a wrong checksum",
    frame(
      [
        ...request(WRITE, 33, 0, 512),
        ["checksum", "string", "crc32"],
        ["hash", "bytes", new Uint8Array(4)],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "an unknown compression",
    frame(
      [
        ...request(WRITE, 34, 0, 512),
        ["compression", "string", "zstd"],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "a hole of 4 GiB",
    frame(
      [
        ...request(WRITE, 35, 0, 512),
        ["compression", "string", "hole"],
        ["size", "uint32", 4],
      ],
      2,
      new Uint8Array(4).fill(0xff),
    ),
  ],
  ["a header of 4 GiB", framePrefix(2, 0xffffffff)],
  ["a version byte above ours", frame(request(READ, 36, 0, 512), 3)],
  ["random bytes", new Random(5).bytes(4096)],
];

for (const [what, bytes] of FATAL) {
  Deno.test(`a secondary ends the connection on ${what}, and serves the next`, () =>
    withScriptedPrimary(async (primary, b) => {
      await primary.requests.send(bytes);
      assertEquals(await primary.replies.receive(), undefined, "closed without an answer");
      await b.waitLog(/\[ERROR\] \[disk0\] \(secondary\) /);
    }));
}

Deno.test("a secondary whose unique ID differs refuses and names both", () =>
  withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    {
      using _first = await ScriptedPrimary.connect(b);
    }
    using one = await FrameConn.tcp(b.address, b.port);
    await one.send(frame(HELLO, 1));
    const token = (await one.receive())?.get("token");
    assert(token instanceof Uint8Array, "the secondary gives a token");
    using two = await FrameConn.tcp(b.address, b.port);
    await two.send(frame([
      ["resource", "string", RESOURCE],
      ["token", "bytes", token],
      ["resuid", "uint64", 66],
      ["localcnt", "uint64", 0],
      ["remotecnt", "uint64", 0],
    ]));
    const message = (await one.receive())?.get("errmsg");
    assertMatch(
      String(message),
      /^Resource unique ID mismatch \(primary=66, secondary=4711\)\.$/,
    );
  }));
