/**
 * hastd as a program (with workers that do nothing): arguments, start, background, signals,
 * messages to the byte as cli.json has them, nothing left behind.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { frame, FrameConn } from "../support/hast_wire.ts";
import {
  type Daemon,
  filesIn,
  inPlace,
  type Output,
  type Place,
  setRole,
} from "../support/daemon_place.ts";
import { freePort } from "../support/main_process.ts";
import { isAlive } from "../support/process.ts";
import { at, type Json, listAt, loadVector, textAt } from "../support/vectors.ts";
import { waitFor } from "../support/wait.ts";

const CASES = listAt(loadVector("cli"), "cases");

function vector(what: string): Json {
  const found = CASES.find((each) => at(each, "what") === what);
  assert(found !== undefined, `cli.json has a case '${what}'`);
  return found;
}

function expected(json: Json, folder: string): Output {
  const text = (name: string) => textAt(json, name).replaceAll("/lab/ref/node/cli", folder);
  return { code: Number(at(json, "exit_code")), stdout: text("stdout"), stderr: text("stderr") };
}

const AS_ORIGINAL = [
  "hastd -h",
  "hastd unknown option",
  "hastd -c without argument",
  "hastd missing config, absolute path",
  "hastd missing config, relative path",
];

for (const what of AS_ORIGINAL) {
  Deno.test(`${what}: output and exit code of the original`, () =>
    inPlace(async (place) => {
      const json = vector(what);
      const args = listAt(json, "argv").slice(1).map(String);
      assertEquals(await place.run(...args), expected(json, place.folder));
    }));
}

const AS_ORIGINAL_WITH: [what: string, changes: { control?: string; listen?: string }][] = [
  ["hastd, control path longer than sun_path", {}],
  ["hastd, folder of the control socket missing", { control: "/nonexistent/dir/ctl" }],
  ["hastd, listen address is not local", { listen: "tcp4://203.0.113.1" }],
  ["hastd, listen name that does not resolve", { listen: "tcp4://no.such.host.invalid" }],
];

for (const [what, changes] of AS_ORIGINAL_WITH) {
  Deno.test(`${what}: output and exit code of the original`, () =>
    inPlace(async (place) => {
      const json = expected(vector(what), place.folder);
      const long = /address (\/x+):/.exec(json.stderr)?.[1];
      place.configure(long === undefined ? changes : { control: long });
      assertEquals(await place.run("-F", "-n", "nodea", "-c", place.configPath), json);
    }));
}

/** What fails here in another way than there, and how. */
const DIFFERENT: [what: string, code: number, message: string][] = [
  // The original's scanner cannot read it, and ends the program with 2.
  ["hastd config is a directory", 72, "Unable to open configuration file FOLDER: Is a directory."],
  // What cannot be an address is an error of the configuration here, which tells where it stands.
  [
    "hastd, listen port too big",
    78,
    "Invalid listen address tcp4://127.0.0.1:99999. (CONFIG:3:8: the port must be 1 to 65535, not '99999')",
  ],
  [
    "hastd, listen port 0",
    78,
    "Invalid listen address tcp4://127.0.0.1:0. (CONFIG:3:8: the port must be 1 to 65535, not '0')",
  ],
  [
    "hastd, unknown address scheme",
    78,
    "Invalid listen address bogus://127.0.0.1. (CONFIG:3:8: unknown kind of address bogus://)",
  ],
  // The control socket is not taken away from the daemon that has it.
  [
    "second hastd without pidfile: takes the control socket away, then fails on the TCP port",
    71,
    "Unable to listen on control address FOLDER/ctl: Address already in use.",
  ],
];

for (const [what, code, message] of DIFFERENT) {
  Deno.test(`${what}: not as the original`, () =>
    inPlace(async (place) => {
      const { stderr } = expected(vector(what), place.folder);
      const listen = / on address (\S+): /.exec(stderr)?.[1];
      if (what.startsWith("second")) await place.start();
      else place.configure({ listen });
      const config = what.endsWith("directory") ? place.folder : place.configPath;
      const result = await place.run("-F", "-n", "nodea", "-c", config);
      const text = message.replace("FOLDER", place.folder).replace("CONFIG", place.configPath);
      assertEquals(result, { code, stdout: "", stderr: `[ERROR] ${text}\n` });
    }));
}

const SECOND = "second hastd with the same pidfile";

Deno.test("cli.json has no case of hastd's start that is not tested here", () => {
  const tested = [...AS_ORIGINAL, SECOND];
  for (const [what] of [...AS_ORIGINAL_WITH, ...DIFFERENT]) tested.push(what);
  const starts = CASES.filter((each) => at(each, "argv", 0) === "hastd");
  assertEquals(starts.map((each) => at(each, "what")).sort(), tested.sort());
});

Deno.test("a port in use ends the start, and the control socket goes again", () =>
  inPlace(async (place) => {
    using _rival = Deno.listen({ hostname: "127.0.0.1", port: place.port });
    const result = await place.run("-F", "-n", "nodea", "-c", place.configPath);
    const address = `tcp4://127.0.0.1:${place.port}`;
    assertEquals(result, {
      code: 71,
      stdout: "",
      stderr: `[ERROR] Unable to listen on address ${address}: Address already in use.\n`,
    });
    assertEquals(filesIn(place.folder), ["hast.conf"]);
  }));

Deno.test("a second hastd with the same pidfile names the first and leaves it alone", () =>
  inPlace(async (place) => {
    const pidfile = `${place.folder}/hastd.pid`;
    const first = await place.start("-P", pidfile);
    const second = await place.run("-F", "-n", "nodea", "-c", place.configPath, "-P", pidfile);
    const text = expected(vector(SECOND), place.folder);
    assertEquals(second, {
      ...text,
      stderr: text.stderr.replace("13393", String(first.child.pid)),
    });
    using conn = await FrameConn.unix(`${place.folder}/ctl`);
    await conn.send(frame([["cmd", "uint8", 2], ["resource0", "string", "data"]]));
    assertEquals((await conn.receive())?.get("role0"), "init");
    assertEquals(await first.stop(), 0);
  }));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} ends hastd with 0, its workers too, and leaves nothing behind`, () =>
    inPlace(async (place) => {
      const daemon = await place.start("-P", `${place.folder}/hastd.pid`);
      await setRole(place, 2);
      await waitFor("the worker runs", () => /Fake worker started/.test(daemon.stdout));
      assertEquals(filesIn(place.folder), ["ctl", "hast.conf", "hastd.pid", "run"]);
      assertEquals(
        Deno.readTextFileSync(`${place.folder}/hastd.pid`),
        String(daemon.child.pid),
      );
      assertEquals(await daemon.stop(signal), 0);
      const pid = /pid=(\d+)/.exec(daemon.stdout)?.[1];
      assertEquals(await isAlive(Number(pid)), false);
      assertEquals(filesIn(place.folder), ["hast.conf", "run"]);
      assertEquals(filesIn(`${place.folder}/run`), []);
      assertEquals(daemon.stderr, "");
      assertEquals(daemon.stdout.replaceAll(/pid=\d+/g, "pid=N").split("\n"), [
        "[INFO] Started successfully, running protocol version 2.",
        `[INFO] Listening on address tcp4://127.0.0.1:${place.port}.`,
        "[INFO] [data] (init) Role changed to primary.",
        "[INFO] [data] (primary) Fake worker started with no peer.",
        "[INFO] Termination signal received, exiting.",
        "[INFO] Terminating worker process (resource=data, role=primary, pid=N).",
        "[INFO] [data] (primary) Termination signal received, exiting.",
        "",
      ]);
    }));
}

Deno.test("workers end when hastd is killed", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    await setRole(place, 2);
    await waitFor("the worker runs", () => /Fake worker started/.test(daemon.stdout));
    using conn = await FrameConn.unix(`${place.folder}/ctl`);
    await conn.send(frame([["cmd", "uint8", 2], ["resource0", "string", "data"]]));
    const pid = Number((await conn.receive())?.get("workerpid0"));
    assert(await isAlive(pid));
    daemon.child.kill("SIGKILL");
    await waitFor("the worker has ended", async () => !await isAlive(pid));
  }));

Deno.test("the background mode returns when hastd serves, with the pidfile written", () =>
  inPlace(async (place) => {
    const result = await place.run("-n", "nodea", "-c", "hast.conf", "-P", "own.pid");
    assertEquals([result.code, result.stderr], [0, ""]);
    const pid = Number(Deno.readTextFileSync(`${place.folder}/own.pid`));
    try {
      assert(await isAlive(pid));
      await setRole(place, 2);
      Deno.kill(pid, "SIGHUP");
      await setRole(place, 1);
    } finally {
      Deno.kill(pid, "SIGTERM");
    }
    await waitFor("hastd has ended", async () => !await isAlive(pid));
    assertEquals(filesIn(place.folder), ["hast.conf", "run"]);
  }));

Deno.test("in the background mode a failed start reaches the caller", () =>
  inPlace(async (place) => {
    place.configure({ listen: "tcp4://203.0.113.1" });
    const result = await place.run("-n", "nodea", "-c", "hast.conf");
    assertEquals(result.code, 71);
    assertMatch(result.stderr, /^\[ERROR\] Unable to listen on address tcp4:\/\/203\.0\.113\.1: /);
    assertEquals(filesIn(place.folder), ["hast.conf"]);
  }));

/** Changes the configuration, sends SIGHUP, and returns the main process's lines about it. */
async function reload(
  place: Place,
  daemon: Daemon,
  changes: Parameters<Place["configure"]>[0],
): Promise<string[]> {
  const [outBefore, errBefore] = [daemon.stdout.length, daemon.stderr.length];
  place.configure(changes);
  daemon.child.kill("SIGHUP");
  const after = () => daemon.stdout.slice(outBefore) + daemon.stderr.slice(errBefore);
  await waitFor("the end of the reload", () => /reloaded( successfully)?\.\n/.test(after()));
  return after().split("\n").filter((line) => line !== "" && !line.includes("Reloaded, remote"));
}

Deno.test("SIGHUP takes over what has changed, in the words of the original", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    const begin = "[INFO] Reloading configuration...";
    const end = "[INFO] Configuration reloaded successfully.";
    const [own, other] = [place.port, freePort()].map((port) => `tcp4://127.0.0.1:${port}`);
    const keep = `[INFO] Keep listening on address ${own}.`;
    assertEquals(await reload(place, daemon, {}), [begin, keep, end]);
    await setRole(place, 2);
    await waitFor("the worker runs", () => /Fake worker started/.test(daemon.stdout));
    assertEquals(
      await reload(place, daemon, { remote: "tcp4://127.0.0.3" }),
      [begin, keep, "[INFO] Resource data configuration was modified, reloading it.", end],
    );
    await waitFor(
      "the worker is told",
      () => daemon.stdout.includes("(primary) Reloaded, remote tcp4://127.0.0.3."),
    );
    const two = `resource two { on nodea { local /nonexistent
      remote none } }`;
    assertEquals(
      await reload(place, daemon, { remote: "tcp4://127.0.0.3", listen: other, more: two }),
      [
        begin,
        `[INFO] Listening on new address ${other}.`,
        `[INFO] No longer listening on address ${own}.`,
        "[INFO] Resource two added.",
        end,
      ],
    );
    using _free = Deno.listen({ hostname: "127.0.0.1", port: place.port });
    await (await Deno.connect({ hostname: "127.0.0.1", port: Number(other?.split(":").at(-1)) }))
      .close();
    const control = `${place.folder}/ctl2`;
    const lines = await reload(place, daemon, {
      remote: "tcp4://127.0.0.3",
      listen: other,
      control,
    });
    assertEquals(lines.filter((line) => !/127\.0\.0\.1|Connection/.test(line)), [
      begin,
      `[INFO] Control socket changed from ${place.folder}/ctl to ${control}.`,
      "[INFO] Resource two removed.",
      end,
    ]);
    assertEquals(await daemon.stop(), 0);
    assertEquals(filesIn(place.folder), ["hast.conf", "run"]);
  }));

Deno.test("SIGHUP with a configuration that will not do changes nothing", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    using rival = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const wrong = [
      [{ more: "bogus" }, /^\[ERROR\] .*bogus/],
      [
        { listen: `tcp4://127.0.0.1:${rival.addr.port}`, control: `${place.folder}/new` },
        /^\[ERROR\] Unable to listen on address .*: Address already in use\.$/,
      ],
      [{ control: "/nonexistent/dir/ctl" }, /^\[ERROR\] Unable to listen on control address /],
    ] as const;
    for (const [changes, complaint] of wrong) {
      const lines = await reload(place, daemon, changes);
      assertEquals(lines[0], "[INFO] Reloading configuration...");
      assertMatch(lines[1] ?? "", complaint);
      assertEquals(lines[2], "[WARNING] Configuration not reloaded.");
      await setRole(place, 1);
      assertEquals(filesIn(place.folder), ["ctl", "hast.conf"]);
    }
    assertEquals(await daemon.stop(), 0);
  }));
