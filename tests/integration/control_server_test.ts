/**
 * The control socket against every exchange that was recorded with the original (control.json),
 * and against clients that mean no good.
 */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { HastError } from "../../base/errors.ts";
import { CONTROL_CLIENTS_MAX, ControlServer } from "../../hastd/control_server.ts";
import { Nv } from "../../protocol/nv.ts";
import { FrameConn } from "../support/hast_wire.ts";
import { decodeHex } from "../support/hex.ts";
import { type MainProcess, resourceConfig, withMainProcess } from "../support/main_process.ts";
import {
  annotate,
  type Annotation,
  at,
  type Json,
  listAt,
  loadVector,
  maskNamePadding,
  textAt,
} from "../support/vectors.ts";
import { waitFor } from "../support/wait.ts";

const VECTORS = loadVector("control");
const RESOURCES = ["data", "data2"].map((name) =>
  resourceConfig(name, {
    localPath: `/lab/ref/node/ctl/a/${name}.img`,
    remoteAddress: "tcp4://127.0.0.12",
    sourceAddress: "tcp4://127.0.0.1",
  })
);
/** What only the original's workers could know. */
const OF_WORKER =
  /^(workerpid|status|dirty|extentsize|keepdirty|stat_|(idle|local|send|recv|done)_)/;

interface Control extends MainProcess {
  path: string;
}

function withControl(test: (main: Control) => Promise<void>): Promise<void> {
  return withMainProcess(RESOURCES, async (main) => {
    const path = `${main.folder}/ctl`;
    const server = await ControlServer.open(path, main.desk, main.recorder.log);
    void server.serve();
    try {
      await test({ ...main, path });
    } finally {
      server.close();
    }
    assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  });
}

/** Sends a request and reads until the daemon closes. */
async function exchange(path: string, request: Uint8Array): Promise<Uint8Array> {
  using conn = await Deno.connect({ transport: "unix", path });
  await conn.write(request);
  await conn.closeWrite();
  return new Uint8Array(await new Response(conn.readable).arrayBuffer());
}

function withoutFigures(reply: Uint8Array): Annotation[] {
  return annotate(Nv.decode(reply.subarray(5))).map(([name, type, value]) =>
    OF_WORKER.test(name) ? [name, type, "N"] : [name, type, value]
  );
}

async function replay(main: Control, vector: Json): Promise<void> {
  const what = textAt(vector, "what");
  const reply = await exchange(main.path, decodeHex(textAt(vector, "request_hex")));
  const expected = decodeHex(textAt(vector, "reply_hex"));
  if (expected.length === 0) return assertEquals(reply.length, 0, what);
  assertEquals(reply[0], 2, what);
  assertEquals(withoutFigures(reply), withoutFigures(expected), what);
  if (at(vector, "reply", 0, 0) === undefined) return;
  const hasWorker = listAt(vector, "reply").some((entry) => at(entry, 0) === "status0");
  if (!hasWorker) {
    assertEquals(maskNamePadding(reply.slice(5)), maskNamePadding(expected.slice(5)), what);
  }
}

Deno.test("every recorded request gets the recorded reply, one after the other", () =>
  withControl(async (main) => {
    for (const vector of listAt(VECTORS, "hastctl")) {
      if (typeof at(vector, "request_hex") === "string") await replay(main, vector);
    }
    for (const vector of listAt(VECTORS, "raw_requests")) {
      const linesBefore = main.recorder.lines.length;
      await replay(main, vector);
      const log = textAt(vector, "log").trimEnd();
      if (log !== "") assertEquals(main.recorder.lines.slice(linesBefore), [log]);
    }
  }));

Deno.test("the control socket is for its owner only, and goes with the server", () =>
  withControl(({ path }) => {
    const status = Deno.lstatSync(path);
    assert(status.isSocket);
    assertEquals((status.mode ?? 0) & 0o777, 0o600);
    return Promise.resolve();
  }));

Deno.test("clients beyond the limit are closed, the others are answered", () =>
  withControl(async ({ path, recorder }) => {
    const silent: FrameConn[] = [];
    while (silent.length < CONTROL_CLIENTS_MAX) silent.push(await FrameConn.unix(path));
    using crowd = await FrameConn.unix(path);
    assertEquals(await crowd.receive(), undefined);
    assertEquals(recorder.lines, ["[WARNING] Too many control connections, the limit is 64."]);
    silent.pop()?.[Symbol.dispose]();
    const request = decodeHex(textAt(VECTORS, "hastctl", 0, "request_hex"));
    await waitFor("a place is free again", async () => {
      try {
        return (await exchange(path, request)).length > 0;
      } catch (error) {
        if (error instanceof Deno.errors.BrokenPipe) return false; // Closed as one too many.
        throw error;
      }
    });
    for (const conn of silent) conn[Symbol.dispose]();
  }));

Deno.test("a worker that does not tell its status is listed without", async () => {
  await withMainProcess([resourceConfig("mute")], async (main) => {
    const path = `${main.folder}/ctl`;
    const server = await ControlServer.open(path, main.desk, main.recorder.log);
    void server.serve();
    await main.supervisor.find("mute")?.setRole("primary", "control");
    using conn = await FrameConn.unix(path);
    const request = new Nv().addU8("cmd", 2).addString("resource0", "mute").encode();
    await conn.send(new Uint8Array([2, request.length, 0, 0, 0, ...request]));
    const reply = await conn.receive();
    assertEquals(reply?.get("workerpid0"), BigInt(main.supervisor.find("mute")?.workerPid ?? 0));
    assertEquals(reply?.has("status0"), false);
    server.close();
  });
});

async function openAt(path: string, main: MainProcess): Promise<string> {
  const error = await assertRejects(
    () => ControlServer.open(path, main.desk, main.recorder.log),
    HastError,
  );
  assertEquals(error.exitCode, 71);
  return error.message;
}

Deno.test("a socket that somebody answers is not taken away, one of a dead process is", () =>
  withMainProcess([], async (main) => {
    const path = `${main.folder}/ctl`;
    const first = await ControlServer.open(path, main.desk, main.recorder.log);
    assertEquals(
      await openAt(path, main),
      `Unable to listen on control address ${path}: Address already in use.`,
    );
    assert(Deno.lstatSync(path).isSocket);
    first.close();
    const script =
      `Deno.listen({ transport: "unix", path: "${path}" }); Deno.kill(Deno.pid, "SIGKILL")`;
    await new Deno.Command(Deno.execPath(), { args: ["eval", script] }).output();
    assert(Deno.lstatSync(path).isSocket);
    (await ControlServer.open(path, main.desk, main.recorder.log)).close();
  }));

Deno.test("what cannot be a control socket is refused in the original's words", () =>
  withMainProcess([], async (main) => {
    const file = `${main.folder}/file`;
    Deno.writeTextFileSync(file, "precious");
    const long = `/${"x".repeat(200)}`;
    for (
      const [address, reason] of [
        [file, "Address already in use"],
        [long, "File name too long"],
        ["/nonexistent/dir/ctl", "No such file or directory"],
        ["tcp4://127.0.0.1:99", "Invalid argument"],
      ]
    ) {
      assertEquals(
        await openAt(address ?? "", main),
        `Unable to listen on control address ${address}: ${reason}.`,
      );
    }
    assertEquals(Deno.readTextFileSync(file), "precious");
  }));
