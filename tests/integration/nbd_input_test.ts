/** Bad input on the NBD socket: each gets its error, and other clients are served. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { concat } from "../support/hast_wire.ts";
import { COMMAND, NbdClient, NbdError, requestBytes } from "../support/nbd_client.ts";
import { Random, testSeed } from "../support/random.ts";
import { within } from "../support/wait.ts";

const SILENT_COUNT = 32;
const [EINVAL, ENOSPC, EOVERFLOW] = [22, 28, 75] as const;
const ERR_UNSUP = 0x80000001;
const FIXED_NEWSTYLE = new Uint8Array([0, 0, 0, 1]);
const CHUNK_BYTES = 65_536;

async function withExport(test: (node: Node) => Promise<void>): Promise<void> {
  await withCluster({}, async (cluster) => {
    await cluster.startPair();
    const pid = await cluster.a.workerPid();
    await test(cluster.a);
    await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
    const data = new Random(testSeed()).bytes(4096);
    await client.write(0, data);
    assertEquals(await client.read(0, data.length), data);
    assertEquals(await cluster.a.workerPid(), pid, "the worker is still the same");
    await cluster.waitSameData();
  });
}

/** The number of the error that a request is answered with. */
async function errorOf(reply: Promise<unknown>): Promise<number> {
  const error = await assertRejects(() => reply, NbdError);
  return error.errno;
}

/** An option of the handshake with its head. */
function option(number: number, lengthBytes: number, data: Uint8Array = new Uint8Array()) {
  const head = new Uint8Array(16);
  const view = new DataView(head.buffer);
  view.setBigUint64(0, 0x49484156454f5054n);
  view.setUint32(8, number);
  view.setUint32(12, lengthBytes);
  return concat(head, data);
}

/** Sends bytes after the greeting, and reads to the end of the connection. */
async function talk(node: Node, bytes: Uint8Array, end = false): Promise<Uint8Array> {
  using conn = await Deno.connect({ transport: "unix", path: node.nbdPath() });
  const pieces: Uint8Array[] = [];
  const reading = (async () => {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const count = await conn.read(buffer).catch(() => null); // A reset is an end, too.
      if (count === null) return;
      pieces.push(buffer.slice(0, count));
    }
  })();
  try {
    for (let done = 0; done < bytes.length;) done += await conn.write(bytes.subarray(done));
    if (end) await conn.closeWrite();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error; // It has closed: as it should.
  }
  await within("the NBD server closes the connection", reading);
  return concat(...pieces);
}

Deno.test("requests outside the export or unknown get their error, the connection stays", () =>
  withExport(async (node) => {
    await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
    const end = client.sizeBytes;
    const data = new Uint8Array(1024);
    assertEquals(await errorOf(client.read(end, 512)), EINVAL, "read past the end");
    assertEquals(await errorOf(client.read(end - 512, 1024)), EINVAL, "read across the end");
    assertEquals(await errorOf(client.write(end, data)), ENOSPC, "write past the end");
    assertEquals(await errorOf(client.write(end - 512, data)), ENOSPC, "write across the end");
    assertEquals(await errorOf(client.writeZeroes(end, 512)), ENOSPC, "zeros past the end");
    assertEquals(await errorOf(client.trim(end, 512)), EINVAL, "trim past the end");
    assertEquals(await errorOf(client.read(2 ** 52, 512)), EINVAL, "read far outside");
    assertEquals(await errorOf(client.send({ command: 999 })), EINVAL, "unknown command");
    const flags = 0x8000;
    const odd = client.send({ command: COMMAND.read, flags, offsetBytes: 0, lengthBytes: 512 });
    assertEquals(await errorOf(odd), EINVAL, "unknown flag");
    const large = await errorOf(client.read(0, 33 * 1024 * 1024));
    assert(large === EINVAL || large === EOVERFLOW, "read over 32 MiB");
    assertEquals((await client.read(end - 512, 512)).length, 512, "the connection stays");
  }));

Deno.test("an unknown option is refused as unsupported, the negotiation goes on", () =>
  withExport(async (node) => {
    const abort = option(2, 0);
    const bytes = concat(FIXED_NEWSTYLE, option(4711, 3, new Uint8Array(3)), abort);
    const answer = new DataView((await talk(node, bytes)).slice(18).buffer);
    assertEquals(answer.getUint32(8), 4711);
    assertEquals(answer.getUint32(12), ERR_UNSUP);
    assertEquals(answer.getUint32(20 + answer.getUint32(16) + 8), 2, "abort is answered, too");
  }));

Deno.test("broken handshakes end the connection", () =>
  withExport(async (node) => {
    const random = new Random(testSeed());
    const name = new TextEncoder().encode("nosuch");
    const cases: [string, Uint8Array][] = [
      ["unknown client flags", new Uint8Array([0xff, 0xff, 0xff, 0xff])],
      ["no option magic", concat(FIXED_NEWSTYLE, new Uint8Array(16).fill(0x55))],
      ["an option of 4 GiB", concat(FIXED_NEWSTYLE, option(7, 0xffffffff))],
      ["an export that is not there", concat(FIXED_NEWSTYLE, option(1, name.length, name))],
    ];
    for (const [what, bytes] of cases) {
      const answer = await talk(node, bytes);
      assert(answer.length < CHUNK_BYTES, `${what}: closed after ${answer.length} bytes`);
    }
    for (let i = 0; i < 50; i++) {
      await talk(node, concat(FIXED_NEWSTYLE, random.bytes(4 * (4 + random.below(500)))), true);
    }
  }));

Deno.test("a request without the magic number ends the connection", () =>
  withExport(async (node) => {
    await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
    await client.sendRaw(new Uint8Array(28).fill(0x55));
    await within("the server closes", client.ended());
  }));

Deno.test("a write whose data never comes changes nothing and keeps nobody waiting", () =>
  withExport(async (node) => {
    await using other = await NbdClient.connect(node.nbdPath(), RESOURCE);
    const before = await other.read(0, 65536);
    {
      await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
      const head = requestBytes({
        command: COMMAND.write,
        offsetBytes: 0,
        data: new Uint8Array(65536),
      }, 1n);
      await client.sendRaw(concat(head, new Uint8Array(1000).fill(0xee)));
      await other.write(1 << 20, new Uint8Array(4096).fill(0x77));
    }
    assertEquals(await other.read(0, 65536), before);
  }));

Deno.test("clients that say nothing, or read no replies, keep nobody waiting", () =>
  withExport(async (node) => {
    const conns: Deno.Conn[] = [];
    const path = node.nbdPath();
    try {
      for (let i = 0; i < SILENT_COUNT; i++) {
        conns.push(await Deno.connect({ transport: "unix", path }));
      }
      const greedy = await Deno.connect({ transport: "unix", path });
      conns.push(greedy);
      const name = new TextEncoder().encode(RESOURCE);
      await greedy.write(concat(FIXED_NEWSTYLE, option(1, name.length, name)));
      const read = { command: COMMAND.read, offsetBytes: 0, lengthBytes: 1 << 20 };
      for (let i = 1; i <= 200; i++) await greedy.write(requestBytes(read, BigInt(i)));
      await using client = await NbdClient.connect(path, RESOURCE);
      await within("another client's write", client.write(0, new Uint8Array(4096)));
      await node.hastctlOk("status");
    } finally {
      for (const conn of conns) conn.close();
    }
  }));
