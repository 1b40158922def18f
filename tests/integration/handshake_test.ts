/**
 * The main process's part of the handshake against what the original answered and logged
 * (protocol_errors.json), and against peers that do not follow the protocol at all.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { HALFWAY_PER_ADDRESS_MAX } from "../../hastd/listener.ts";
import { frame, FrameConn, framePrefix } from "../support/hast_wire.ts";
import { decodeHex } from "../support/hex.ts";
import { connectTwice, STATE } from "../support/handshake.ts";
import {
  type MainProcess,
  type MainProcessOptions,
  resourceConfig,
  withMainProcess,
} from "../support/main_process.ts";
import { at, type Json, listAt, loadVector, maskNamePadding, textAt } from "../support/vectors.ts";
import { waitFor, within } from "../support/wait.ts";

const VECTORS = loadVector("protocol_errors");
const DATA = resourceConfig("data");
/** The lines of the original's main process, without what differs from run to run. */
function originalLog(name: string): string[] {
  const lines = textAt(VECTORS, name, "log_of_node_b").trimEnd().split("\n");
  const start = lines.findIndex((line) => line.includes("Accepting connection"));
  return lines.slice(start)
    // The original's crash at that point is one of the weaknesses that are not copied.
    .filter((line) => !/^\[CRIT\]|Worker process killed/.test(line))
    .map(maskAddresses);
}

function maskAddresses(line: string): string {
  return line.replaceAll("tcp://127.0.0.2:8457", "LOCAL")
    .replace(/tcp:\/\/127\.0\.0\.\d+:\d+/g, "PEER").replace(/pid=\d+/, "pid=N");
}

function ownLog(main: MainProcess, from: number): string[] {
  return main.recorder.lines.slice(from).map((line) =>
    maskAddresses(line.replaceAll(`127.0.0.1:${main.port}`, "127.0.0.2:8457"))
  );
}

/** The token, which is random, as zeros. */
function masked(bytes: Uint8Array): Uint8Array {
  const block = maskNamePadding(bytes.slice(5));
  const name = new TextEncoder().encode("token");
  for (let index = 0; index + 30 <= block.length; index++) {
    if (name.every((byte, offset) => block[index + 6 + offset] === byte) && block[index] === 10) {
      block.fill(0, index + 14, index + 30);
    }
  }
  const whole = bytes.slice();
  whole.set(block, 5);
  return whole;
}

async function readAll(conn: Deno.Conn, byteCount: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteCount);
  let filled = 0;
  while (filled < byteCount) {
    const count = await conn.read(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return bytes.subarray(0, filled);
}

async function isClosed(conn: Deno.Conn): Promise<boolean> {
  try {
    return await within("the peer closes", conn.read(new Uint8Array(1))) === null;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return true;
    throw error;
  }
}

/** Plays the first exchange of a vector; returns the open connection where it stays open. */
async function replay(main: MainProcess, name: string): Promise<Deno.Conn | undefined> {
  const [request, answer]: (Json | undefined)[] = listAt(VECTORS, name, "frames");
  assert(request !== undefined && answer !== undefined, `${name} has a request and an answer`);
  const linesBefore = main.recorder.lines.length;
  const expectedLog = originalLog(name);
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: main.port });
  await conn.write(decodeHex(textAt(request, "header_hex")));
  const staysOpen = at(answer, "closed") === undefined;
  if (staysOpen) {
    const expected = decodeHex(textAt(answer, "header_hex"));
    assertEquals(masked(await readAll(conn, expected.length)), masked(expected), name);
  } else {
    assert(await isClosed(conn), `${name}: closed without a word`);
  }
  await waitFor(
    `log of ${name}`,
    () => main.recorder.lines.length - linesBefore >= expectedLog.length,
  );
  assertEquals(ownLog(main, linesBefore), expectedLog, name);
  return conn;
}

async function replayAll(main: MainProcess, names: string[]): Promise<void> {
  const conns: (Deno.Conn | undefined)[] = [];
  for (const name of names) conns.push(await replay(main, name));
  for (const conn of conns) conn?.close();
}

Deno.test("first steps are answered and logged to the byte as by the original", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    await replayAll(main, [
      "unknown_resource",
      "no_resource_field",
      "no_version_field",
      "version_1",
      "version_3",
      "header_version_byte_3",
      "header_version_byte_0",
      "token_without_first_step",
    ]);
  }));

Deno.test("a node in another role refuses to the byte as the original", () =>
  withMainProcess([DATA], async (main) => {
    await replayAll(main, ["role_init"]);
    await main.supervisor.find("data")?.setRole("primary", "control");
    await waitFor(
      "the worker runs",
      () => main.recorder.lines.some((line) => line.endsWith("Worker process is ready.")),
    );
    await replayAll(main, ["role_primary"]);
  }));

Deno.test("a peer that is nobody's remote is closed and logged as by the original", () =>
  withMainProcess(
    [resourceConfig("data", { remoteAddress: "127.0.0.77" })],
    (main) => replayAll(main, ["unknown_client"]),
  ));

Deno.test("a wrong token is refused to the byte, and the right one still counts", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    const frames = listAt(VECTORS, "token_mismatch", "frames");
    const first = await FrameConn.tcp("127.0.0.1", main.port);
    await first.send(decodeHex(textAt(frames[0] ?? null, "header_hex")));
    const token = (await first.receive())?.get("token");
    assert(token instanceof Uint8Array);
    const second = await Deno.connect({ hostname: "127.0.0.1", port: main.port });
    await second.write(decodeHex(textAt(frames[2] ?? null, "header_hex")));
    const expected = decodeHex(textAt(frames[3] ?? null, "header_hex"));
    assertEquals(masked(await readAll(second, expected.length)), masked(expected));
    assert(await isClosed(second));
    assertEquals(ownLog(main, 1), originalLog("token_mismatch"));
    const again = await FrameConn.tcp("127.0.0.1", main.port);
    await again.send(frame([["resource", "string", "data"], ["token", "bytes", token], ...STATE]));
    assertEquals((await first.receive())?.get("datasize"), 4096n);
    for (const each of [first, again]) each[Symbol.dispose]();
    second.close();
  }));

/** A whole handshake; the answer comes from the (fake) worker. */
Deno.test("a second handshake replaces the worker of the first, which is gone by then", () =>
  withMainProcess([DATA], async (main) => {
    const resource = main.supervisor.find("data");
    await resource?.setRole("secondary", "control");
    assertEquals(resource?.workerPid, 0);
    const old = await connectTwice(main);
    const oldPid = resource?.workerPid;
    const linesBefore = main.recorder.lines.length;
    const young = await connectTwice(main);
    assert(resource?.workerPid !== oldPid && resource?.workerPid !== 0);
    for (const conn of old) assertEquals(await conn.receive(), undefined);
    const ofWorkers = /Fake worker|is ready/;
    const lines = ownLog(main, linesBefore).filter((line) => !ofWorkers.test(line));
    assertEquals(lines.slice(2, 7), [
      "[DEBUG][1] [data] (secondary) Initial connection from PEER.",
      "[DEBUG][1] [data] (secondary) Worker process exists (pid=N), stopping it.",
      "[INFO] [data] (secondary) Termination signal received, exiting.",
      "[DEBUG][1] [data] (secondary) Worker process exited gracefully (pid=N).",
      "[DEBUG][1] [data] (secondary) Negotiated protocol version 2.",
    ]);
    for (const conn of [...old, ...young]) conn[Symbol.dispose]();
  }));

Deno.test("the worker gets both connections and what the primary said", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    const conns = await connectTwice(main);
    await waitFor(
      "the worker's log",
      () => main.recorder.lines.includes("[INFO] [data] (secondary) Fake worker started with 66."),
    );
    await main.supervisor.find("data")?.setRole("init", "control");
    for (const conn of conns) assertEquals(await conn.receive(), undefined);
    for (const conn of conns) conn[Symbol.dispose]();
  }));

Deno.test("a role change closes a half-open connection", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    using first = await FrameConn.tcp("127.0.0.1", main.port);
    await first.send(frame([["resource", "string", "data"]], 1));
    assert((await first.receive())?.has("token"));
    await main.supervisor.find("data")?.setRole("init", "control");
    assertEquals(await first.receive(), undefined);
  }));

Deno.test("a primary that does not come back for its second step is forgotten", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    using first = await FrameConn.tcp("127.0.0.1", main.port);
    await first.send(frame([["resource", "string", "data"]], 1));
    const token = (await first.receive())?.get("token");
    assert(token instanceof Uint8Array);
    assertEquals(await first.receive(), undefined);
    using late = await FrameConn.tcp("127.0.0.1", main.port);
    await late.send(frame([["resource", "string", "data"], ["token", "bytes", token], ...STATE]));
    assertEquals((await late.receive())?.get("errmsg"), "Token doesn't match.");
  }, { halfOpenTimeoutMs: 50 }));

Deno.test("an allowed peer has no access to a resource of another node", () =>
  withMainProcess(
    [DATA, resourceConfig("other", { remoteAddress: "127.0.0.9" })],
    async (main) => {
      using conn = await FrameConn.tcp("127.0.0.1", main.port);
      await conn.send(frame([["resource", "string", "other"], ["version", "uint8", 2]], 1));
      assertEquals((await conn.receive())?.get("errmsg"), "No access to the resource.");
      assertMatch(
        main.recorder.lines.at(-1) ?? "",
        /^\[ERROR\] \[other\] \(init\) Client tcp:\/\/\S+ has no access to the resource\.$/,
      );
    },
  ));

Deno.test("remote none lets nobody in", () =>
  withMainProcess([resourceConfig("data", { remoteAddress: "none" })], async (main) => {
    using conn = await FrameConn.tcp("127.0.0.1", main.port);
    assertEquals(await conn.receive(), undefined);
    assertMatch(main.recorder.lines.at(-1) ?? "", /isn't known\.$/);
  }));

Deno.test("a host name in remote is looked up, and what it does not name is refused", async () => {
  const resolver = (name: string) => Promise.resolve(name === "friend" ? ["127.0.0.1"] : []);
  for (const [remoteAddress, answer] of [["friend", true], ["tcp4://foe", false]] as const) {
    await withMainProcess([resourceConfig("data", { remoteAddress })], async (main) => {
      using conn = await FrameConn.tcp("127.0.0.1", main.port);
      await conn.send(frame([["resource", "string", "data"]], 1));
      assertEquals((await conn.receive())?.has("errmsg"), answer ? true : undefined);
    }, { resolver });
  }
});

Deno.test("a peer over a Unix socket reaches the resources whose remote is a path", () => {
  const options: MainProcessOptions = { unixName: "hast.sock" };
  const resources = [
    resourceConfig("data", { remoteAddress: "uds:///nonexistent/peer" }),
    resourceConfig("net"),
  ];
  return withMainProcess(resources, async (main) => {
    const path = `${main.folder}/hast.sock`;
    assertEquals((Deno.lstatSync(path).mode ?? 0) & 0o777, 0o600);
    await main.supervisor.find("data")?.setRole("secondary", "control");
    using first = await FrameConn.unix(path);
    await first.send(frame([["resource", "string", "data"]], 1));
    const token = (await first.receive())?.get("token");
    assert(token instanceof Uint8Array);
    using second = await FrameConn.unix(path);
    await second.send(frame([["resource", "string", "data"], ["token", "bytes", token], ...STATE]));
    assertEquals((await first.receive())?.get("datasize"), 4096n);
    using third = await FrameConn.unix(path);
    await third.send(frame([["resource", "string", "net"]], 1));
    assertEquals((await third.receive())?.get("errmsg"), "No access to the resource.");
  }, options);
});

Deno.test("no first frame of any kind stops the daemon", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    const wrong: [Uint8Array, RegExp][] = [
      [framePrefix(2, 0), /empty header/],
      [framePrefix(2, 0xffffffff), /4294967295 bytes/],
      [framePrefix(2, 64 * 1024), /65536 bytes/],
      [framePrefix(255, 22), /RPC version wrong/],
      [frame([["resource", "string", "data"], ["size", "uint32", 4096]], 1), /data/],
      [new Uint8Array([2, 16, 0, 0, 0, ...new Array(16).fill(0xaa)]), /header/],
      [
        frame([["resource", "string", "data"], ["token", "bytes", new Uint8Array(15)]]),
        /invalid size .*expected 16, got 15/,
      ],
    ];
    for (const [bytes, complaint] of wrong) {
      using conn = await FrameConn.tcp("127.0.0.1", main.port);
      await conn.send(bytes);
      assertEquals(await conn.receive(), undefined, String(complaint));
      assertMatch(main.recorder.lines.at(-1) ?? "", complaint);
    }
    for (const conn of await connectTwice(main)) conn[Symbol.dispose]();
  }));

Deno.test("a second step without what the primary holds is refused, its token stays good", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    using first = await FrameConn.tcp("127.0.0.1", main.port);
    await first.send(frame([["resource", "string", "data"]], 1));
    const token = (await first.receive())?.get("token");
    assert(token instanceof Uint8Array);
    const address: ["resource", "string", "data"] = ["resource", "string", "data"];
    using second = await FrameConn.tcp("127.0.0.1", main.port);
    await second.send(frame([address, ["token", "bytes", token]]));
    assertEquals(await second.receive(), undefined);
    assertMatch(main.recorder.lines.at(-1) ?? "", /no 'resuid' field/);
    using third = await FrameConn.tcp("127.0.0.1", main.port);
    await third.send(frame([address, ["token", "bytes", token], ...STATE]));
    assertEquals((await first.receive())?.get("datasize"), 4096n);
  }));

Deno.test("silent peers hold up nobody, are bounded in number, and are sent away in time", () =>
  withMainProcess([DATA], async (main) => {
    await main.supervisor.find("data")?.setRole("secondary", "control");
    const silent: FrameConn[] = [];
    const half = await FrameConn.tcp("127.0.0.1", main.port);
    await half.send(new Uint8Array([2, 30]));
    silent.push(half);
    while (silent.length < HALFWAY_PER_ADDRESS_MAX - 1) {
      silent.push(await FrameConn.tcp("127.0.0.1", main.port));
    }
    await waitFor(
      "all are accepted",
      () =>
        main.recorder.lines.filter((line) => line.startsWith("[INFO] Connection")).length ===
          silent.length,
    );
    for (const conn of await connectTwice(main)) conn[Symbol.dispose]();
    silent.push(await FrameConn.tcp("127.0.0.1", main.port));
    using crowd = await FrameConn.tcp("127.0.0.1", main.port);
    assertEquals(await crowd.receive(), undefined);
    const crowded = "[WARNING] Too many connections at once";
    assert(main.recorder.lines.some((line) => line.startsWith(crowded)));
    for (const conn of silent) assertEquals(await conn.receive(), undefined);
    const late = main.recorder.lines.filter((line) => line.endsWith(": Operation timed out."));
    assertEquals(late.length, silent.length);
    for (const conn of silent) conn[Symbol.dispose]();
  }, { handshakeTimeoutMs: 3_000 }));
