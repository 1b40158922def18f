/** Bad input on the control socket: each gets its error, and hastctl is served on. */
import { assertEquals } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import {
  concat,
  type Entry,
  type Fields,
  frame,
  FrameConn,
  framePrefix,
} from "../support/hast_wire.ts";
import { Random, testSeed } from "../support/random.ts";

const SILENT_COUNT = 48;
const [SET_ROLE, STATUS] = [1, 2] as const;
const [NO_ENTRY, INVALID, UNIMPLEMENTED] = [1n, 2n, 4n] as const;
const DISK: Entry = ["resource0", "string", RESOURCE];

async function ask(node: Node, bytes: Uint8Array, end = false): Promise<Fields | undefined> {
  using client = await FrameConn.unix(node.controlPath);
  await client.send(bytes);
  if (end) await client.closeWrite();
  return await client.receive();
}

async function withDaemon(test: (node: Node) => Promise<void>): Promise<void> {
  await withCluster({}, async ({ a }) => {
    await a.start();
    await test(a);
    assertEquals((await a.list()).get("role"), "init", "hastctl is served, nothing has changed");
  });
}

Deno.test("requests that make no sense get the error of the specification", () =>
  withDaemon(async (node) => {
    const cases: [string, Entry[], bigint][] = [
      ["unknown command", [["cmd", "uint8", 9], DISK], UNIMPLEMENTED],
      ["no role", [["cmd", "uint8", SET_ROLE], DISK], INVALID],
      ["role 0", [["cmd", "uint8", SET_ROLE], ["role", "uint8", 0], DISK], INVALID],
      ["role 4", [["cmd", "uint8", SET_ROLE], ["role", "uint8", 4], DISK], INVALID],
    ];
    for (const [what, entries, error] of cases) {
      assertEquals((await ask(node, frame(entries)))?.get("error"), error, what);
    }
    const unknown: Entry[] = [["cmd", "uint8", STATUS], ["resource0", "string", "nosuch"]];
    const reply = await ask(node, frame(unknown));
    assertEquals([reply?.get("resource0"), reply?.get("error0")], ["nosuch", NO_ENTRY]);
  }));

Deno.test("a request without a command is closed without an answer", () =>
  withDaemon(async (node) => {
    assertEquals(await ask(node, frame([DISK])), undefined);
    await node.waitLog(/Control header is missing 'cmd' field/);
  }));

Deno.test("broken frames on the control socket are closed without an answer", () =>
  withDaemon(async (node) => {
    const status = frame([["cmd", "uint8", STATUS], DISK]);
    const cases: [string, Uint8Array][] = [
      ["a version byte above ours", frame([["cmd", "uint8", STATUS], DISK], 3)],
      ["a header of 4 GiB", framePrefix(2, 0xffffffff)],
      ["a header of 0 bytes", framePrefix(2, 0)],
      ["an entry past the end", concat(framePrefix(2, 16), new Uint8Array(16).fill(0x11))],
    ];
    for (const [what, bytes] of cases) assertEquals(await ask(node, bytes), undefined, what);
    for (let end = 0; end < status.length; end++) {
      assertEquals(await ask(node, status.subarray(0, end), true), undefined, `${end} bytes`);
    }
  }));

Deno.test("random bytes on the control socket are closed without an answer", () =>
  withDaemon(async (node) => {
    const random = new Random(testSeed());
    for (let i = 0; i < 100; i++) {
      const bytes = random.bytes(4 * (2 + random.below(200)));
      if (i % 2 === 0) bytes.set(framePrefix(2, bytes.length - 5));
      assertEquals(await ask(node, bytes, true), undefined);
    }
  }));

Deno.test("clients of the control socket that say nothing keep nobody waiting", () =>
  withDaemon(async (node) => {
    const silent: FrameConn[] = [];
    try {
      for (let i = 0; i < SILENT_COUNT; i++) silent.push(await FrameConn.unix(node.controlPath));
      await node.hastctlOk("status");
    } finally {
      for (const client of silent) client[Symbol.dispose]();
    }
  }));

Deno.test("a frame that comes byte by byte is understood", () =>
  withDaemon(async (node) => {
    using client = await FrameConn.unix(node.controlPath);
    for (const byte of frame([["cmd", "uint8", STATUS], DISK])) {
      await client.send(new Uint8Array([byte]));
    }
    assertEquals((await client.receive())?.get("role0"), "init");
  }));
