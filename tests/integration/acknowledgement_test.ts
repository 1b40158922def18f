/**
 * What a primary makes of the replies of its secondary: when a write is acknowledged in each mode,
 * and what becomes of errors and of silence. The secondary is a script that answers as the one of
 * protocol_misc.json did, and no sooner than it is told to.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import type { Entry, Fields } from "../support/hast_wire.ts";
import { NbdClient, NbdError } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { ScriptedSecondary } from "../support/scripted_secondary.ts";
import { waitFor, within } from "../support/wait.ts";

const BLOCK = new Uint8Array(4096).fill(0x65);
const READ_COUNT = 100;
const RECEIVED: Entry = ["received", "int8", 1];
const EIO: Entry = ["error", "int16", 5];

interface Pair {
  a: Node;
  peer: ScriptedSecondary;
  client: NbdClient;
}

interface PairOptions {
  /** Of the resource. */
  lines: string[];
  version?: number;
}

/** A real primary with a client, connected to a scripted secondary. */
async function withPair(
  { lines, version }: PairOptions,
  test: (pair: Pair) => Promise<void>,
): Promise<void> {
  await withCluster({ resourceLines: lines }, async ({ a, b }) => {
    using peer = new ScriptedSecondary(b);
    await a.start();
    const { dataBytes } = await a.layout();
    await Promise.all([a.role("primary"), peer.handshake({ dataBytes, version })]);
    await a.waitComplete();
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    await test({ a, peer, client });
  });
}

/** A write under way, and whether it has been acknowledged. */
class Write {
  acknowledged = false;
  readonly done: Promise<void>;

  constructor(readonly client: NbdClient, offsetBytes = 0, data = BLOCK) {
    this.done = client.write(offsetBytes, data).then(() => {
      this.acknowledged = true;
    });
  }

  /** Not acknowledged, though whatever needs nobody else has had time enough. */
  async isWaiting(): Promise<void> {
    for (let i = 0; i < READ_COUNT; i++) await this.client.read(1 << 20, 4096);
    assertEquals(this.acknowledged, false, "the write waits");
  }

  isAcknowledged(): Promise<void> {
    return within("the acknowledgement", this.done);
  }
}

Deno.test("fullsync acknowledges a write on the final reply, and asks for no other", () =>
  withPair({ lines: ["replication fullsync"] }, async ({ peer, client }) => {
    const write = new Write(client);
    const request = await peer.next();
    assertEquals(request.has("memsync"), false);
    await write.isWaiting();
    await peer.reply(request);
    await write.isAcknowledged();
  }));

Deno.test("memsync acknowledges a write when the peer has received it, before the final reply", () =>
  withPair({ lines: ["replication memsync"] }, async ({ a, peer, client }) => {
    const write = new Write(client);
    const request = await peer.next();
    assertEquals(request.get("memsync"), 1n);
    await write.isWaiting();
    await peer.reply(request, RECEIVED);
    await write.isAcknowledged();
    const second = new Write(client, 1 << 21);
    await second.isWaiting();
    await peer.reply(request);
    await peer.reply(await peer.next(), RECEIVED);
    await second.isAcknowledged();
    assertEquals((await a.list()).get("status"), "complete");
  }));

Deno.test("async acknowledges a write that the peer has not answered at all", () =>
  withPair({ lines: ["replication async"] }, async ({ a, peer, client }) => {
    const write = new Write(client);
    await write.isAcknowledged();
    const request = await peer.next();
    assertEquals(request.has("memsync"), false);
    assertEquals(await staleBytes(a), 0);
    peer.hangUp();
    await waitFor("the extent is stale", async () => await staleBytes(a) === 2 ** 21);
  }));

Deno.test("memsync with a secondary of version 1 is fullsync, and says so once", () =>
  withPair({ lines: ["replication memsync"], version: 1 }, async ({ a, peer, client }) => {
    for (let i = 0; i < 2; i++) {
      const write = new Write(client);
      const request = await peer.next();
      assertEquals(request.has("memsync"), false);
      await write.isWaiting();
      await peer.reply(request);
      await write.isAcknowledged();
    }
    const warnings = a.log().split("\n").filter((line) => line.includes("falling back"));
    assertEquals(warnings, [
      "[WARNING] [disk0] (primary) The 'memsync' replication mode is not supported by the remote " +
      "node, falling back to 'fullsync' mode.",
    ]);
  }));

/** The peer answers one request of the user with these fields; the user is told of success. */
async function answered(
  peer: ScriptedSecondary,
  asked: Promise<unknown>,
  ...answers: Entry[][]
): Promise<Fields> {
  const request = await peer.next();
  for (const answer of answers) await peer.reply(request, ...answer);
  await within("the answer for the user", asked);
  return request;
}

/** What one side lacks is stale, and to be copied: `hastctl status --json` tells. */
async function staleBytes(a: Node): Promise<number> {
  const { resources } = JSON.parse(await a.hastctlOk("status", "--json", RESOURCE));
  return resources[0].staleBytes;
}

Deno.test("an error of the peer is logged, the user told of success, the extent to be copied", () =>
  withPair({ lines: ["replication fullsync"] }, async ({ a, peer, client }) => {
    await answered(peer, client.write(0, BLOCK), [EIO]);
    await a.waitLog(
      /\[WARNING\] \[disk0\] \(primary\) Remote request failed \(Input\/output error\): WRITE\(0, 4096\)\./,
    );
    await waitFor("the extent is stale", async () => await staleBytes(a) === 2 ** 21);
    await answered(peer, client.trim(2 ** 22, 4096), [EIO]);
    await a.waitLog(/Remote request failed \(Input\/output error\): DELETE\(4194304, 4096\)\./);
    await waitFor("that, too", async () => await staleBytes(a) === 2 ** 22);
    assertEquals((await a.list()).get("status"), "complete");
  }));

Deno.test("memsync: an error in place of the first reply, and a final reply without a first", () =>
  withPair({ lines: ["replication memsync"] }, async ({ a, peer, client }) => {
    await answered(peer, client.write(0, BLOCK), [EIO]);
    await a.waitLog(/Remote request failed \(Input\/output error\): WRITE\(0, 4096\)\./);
    await waitFor("the extent is stale", async () => await staleBytes(a) === 2 ** 21);
    await answered(peer, client.write(2 ** 22, BLOCK), []);
    await answered(peer, client.write(2 ** 23, BLOCK), [RECEIVED], []);
    assertEquals(await staleBytes(a), 2 ** 21, "only the first one is");
    assertEquals((await a.list()).get("status"), "complete");
  }));

for (
  const [what, reply, line] of [
    [
      "a number that no request has",
      [["seq", "uint64", 99]],
      "Found no request matching received 'seq' field (99).",
    ],
    ["no number", [["other", "uint64", 99]], "Header contains no 'seq' field."],
  ] satisfies [string, Entry[], string][]
) {
  Deno.test(`a reply with ${what} ends the connection, what was in flight is to be copied`, () =>
    withPair({ lines: ["replication fullsync"] }, async ({ a, peer, client }) => {
      const write = new Write(client);
      await peer.next();
      await write.isWaiting();
      await peer.send(reply);
      await write.isAcknowledged();
      await waitFor("the extent is stale", async () => await staleBytes(a) === 2 ** 21);
      await waitFor(line, () => a.log().includes(`[ERROR] [disk0] (primary) ${line}`));
      await a.waitLog(/\[WARNING\] \[disk0\] \(primary\) Disconnected from /);
    }));
}

Deno.test("a peer that takes a write and never answers is given up after the time-out", () =>
  withPair({ lines: ["replication fullsync", "timeout 1"] }, async ({ a, peer, client }) => {
    const write = new Write(client);
    await peer.next();
    await write.isAcknowledged();
    for (
      const line of [
        /\[ERROR\] \[disk0\] \(primary\) Unable to receive reply header: Operation timed out\.\n/,
        /\[WARNING\] \[disk0\] \(primary\) Disconnected from \S+\n/,
        /\[DEBUG\]\[1\] \[disk0\] \(primary\) Increasing localcnt to 1\.\n/,
      ]
    ) await a.waitLog(line);
    assertEquals((await a.list()).get("status"), "degraded");
    assert((await a.hastctlOk("dump", RESOURCE)).includes("localcnt: 1\n"));
  }));

Deno.test("what cannot be read here is read from the peer; an error of both is an error", () =>
  withPair({ lines: ["replication fullsync"] }, async ({ a, peer, client }) => {
    const { offsetBytes, dataBytes } = await a.layout();
    await Deno.truncate(a.componentPath, offsetBytes);
    const size: Entry = ["size", "uint32", 4096];
    const data = new Random(3).bytes(4096);
    const from = dataBytes - 4096;
    const reading = client.read(from, 4096);
    const request = await peer.next();
    assertEquals([request.get("cmd"), request.get("offset")], [1n, BigInt(from)]);
    await peer.send([["seq", "uint64", BigInt(String(request.get("seq")))], size], data);
    assertEquals(await reading, data);
    await a.waitLog(/\[WARNING\] .* Local request failed \(.*\), trying remote node\. READ\(/);
    const failing = client.read(from, 4096);
    const expected = assertRejects(() => failing, NbdError);
    await peer.reply(await peer.next(), EIO);
    await expected;
    const hole = client.read(from, 4096);
    const asked = await peer.next();
    const length = new Uint8Array([0, 16, 0, 0]);
    await peer.send([
      ["seq", "uint64", BigInt(String(asked.get("seq")))],
      ["compression", "string", "hole"],
      ["size", "uint32", 4],
    ], length);
    assertEquals(await hole, new Uint8Array(4096));
  }));
