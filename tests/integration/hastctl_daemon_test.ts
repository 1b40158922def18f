/**
 * hastctl's own commands against a real hastd, both as programs: stop, reload, attach, --json.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Daemon, filesIn, inPlace, type Place, setRole } from "../support/daemon_place.ts";
import { attemptTwice, connectTwice } from "../support/handshake.ts";
import { frame, FrameConn } from "../support/hast_wire.ts";
import { freePort } from "../support/main_process.ts";
import { isAlive } from "../support/process.ts";
import { waitFor, within } from "../support/wait.ts";

function section(name: string, lines = ""): string {
  return `resource ${name} { ${lines}
	on nodea {
		local /nonexistent/${name}
		remote tcp4://127.0.0.1
	}
}
`;
}

async function startPrimary(place: Place, resource = "data", ...args: string[]): Promise<Daemon> {
  const daemon = await place.start(...args);
  await setRole(place, 2, resource);
  await waitFor("the worker runs", () => /Fake worker started/.test(daemon.stdout));
  return daemon;
}

async function workerPid(place: Place, resource = "data"): Promise<number> {
  const { stdout } = await place.hastctl("list", resource);
  return Number(/^ {2}workerpid: (\d+)$/m.exec(stdout)?.[1] ?? 0);
}

async function json(place: Place, ...names: string[]): Promise<Record<string, unknown>> {
  const result = await place.hastctl("status", "--json", ...names);
  assertEquals([result.code, result.stderr], [0, ""]);
  return JSON.parse(result.stdout);
}

/** What stands at a path of the document. */
function at(value: unknown, ...path: (string | number)[]): unknown {
  for (const key of path) {
    assert(typeof value === "object" && value !== null, `there is something above ${key}`);
    value = Reflect.get(value, key);
  }
  return value;
}

Deno.test("hastctl stop returns when the daemon has ended, with nothing left behind", () =>
  inPlace(async (place) => {
    const daemon = await startPrimary(place, "data", "-P", `${place.folder}/hastd.pid`);
    const pid = await workerPid(place);
    const stopped = await place.hastctl("stop", "-d");
    assertEquals(stopped, {
      code: 0,
      stdout: `[DEBUG][1] hastd (pid ${daemon.child.pid}) has ended.\n`,
      stderr: "",
    });
    assertEquals(await isAlive(pid), false);
    assertEquals(filesIn(place.folder), ["hast.conf", "run"]);
    assertEquals((await within("hastd ends", daemon.child.status)).code, 0);
    const again = await place.hastctl("stop");
    assertEquals(again, {
      code: 71,
      stdout: "",
      stderr: `[ERROR] Unable to connect to hastd via ${place.folder}/ctl: ` +
        "No such file or directory.\n",
    });
  }));

Deno.test("a client that asks for the end and does not wait for it is answered at once", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    {
      using conn = await FrameConn.unix(`${place.folder}/ctl`);
      await conn.send(frame([["cmd", "uint8", 3]]));
      const reply = await conn.receive();
      assertEquals(reply?.get("error"), 0n);
      assertEquals(reply?.get("daemonpid"), BigInt(daemon.child.pid));
    }
    assertEquals((await within("hastd ends", daemon.child.status)).code, 0);
  }));

Deno.test("hastctl reload -n tells what would happen to each resource, and changes nothing", () =>
  inPlace(async (place) => {
    const two = section("two") + section("three") + section("four");
    place.configure({ more: two });
    const daemon = await startPrimary(place);
    await setRole(place, 2, "two");
    await setRole(place, 3, "four");
    const dryRun = () => place.hastctl("reload", "-n");
    const nothing = "data: nothing\ntwo: nothing\nthree: nothing\nfour: nothing\n";
    assertEquals(await dryRun(), { code: 0, stdout: nothing, stderr: "" });
    const other = `tcp4://127.0.0.1:${freePort()}`;
    place.configure({
      remote: "tcp4://127.0.0.3",
      listen: other,
      more: section("five") + section("four", "timeout 7") +
        section("two", "sync-rate 1M\n#+ provider nbd 127.0.0.1\n"),
    });
    assertEquals((await dryRun()).stdout.split("\n"), [
      `listen: ${other} is added`,
      `listen: tcp4://127.0.0.1:${place.port} is removed`,
      "three: removed",
      "data: applied at once, reconnect (remote)",
      "five: added, in role init",
      "four: restart (timeout)",
      "two: restart, its disk is gone for a moment (provider nbd, sync-rate)",
      "",
    ]);
    assertEquals((await place.hastctl("status", "three")).code, 0);
    assertEquals((await place.hastctl("status", "five")).code, 1);
    assertEquals(daemon.stdout.includes("Reloading"), false);
  }));

Deno.test("hastctl reload makes the daemon reload and tells what was done", () =>
  inPlace(async (place) => {
    place.configure({ more: section("two") });
    const daemon = await startPrimary(place);
    const pid = await workerPid(place);
    place.configure({ remote: "tcp4://127.0.0.4", more: section("three") });
    assertEquals(await place.hastctl("reload"), {
      code: 0,
      stdout: "two: removed\ndata: applied at once, reconnect (remote)\n" +
        "three: added, in role init\n",
      stderr: "",
    });
    assertEquals((await place.hastctl("status", "three")).code, 0);
    assertEquals(await workerPid(place), pid);
    await waitFor("the worker is told", () => daemon.stdout.includes("remote tcp4://127.0.0.4."));
    assertMatch(daemon.stdout, /\[INFO\] Configuration reloaded successfully\./);
    place.configure({ remote: "tcp4://127.0.0.4", more: section("three", "sync-rate 9k") });
    await setRole(place, 3, "three");
    assertEquals(
      (await place.hastctl("reload")).stdout,
      "data: nothing\nthree: applied at once (sync-rate)\n",
    );
    const config = at(await json(place, "three"), "resources", 0, "config");
    assertEquals(at(config, "syncRateBytesPerSecond"), 9216);
  }));

Deno.test("the client that asks for a reload is answered where the control socket moves", () =>
  inPlace(async (place) => {
    await place.start();
    const asked = await FrameConn.unix(`${place.folder}/ctl`);
    place.configure({ control: `${place.folder}/ctl2` });
    await asked.send(frame([["cmd", "uint8", 128]]));
    assertEquals((await asked.receive())?.get("action0"), "nothing");
    asked[Symbol.dispose]();
    assertEquals(filesIn(place.folder), ["ctl2", "hast.conf"]);
    assertEquals((await place.hastctl("status")).code, 0);
  }));

Deno.test("hastctl reload with a wrong file does not trouble the daemon", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    place.configure({ more: "bogus" });
    for (const flags of [[], ["-n"]]) {
      const { code, stdout, stderr } = await place.hastctl("reload", ...flags);
      assertEquals([code, stdout], [78, ""]);
      assertMatch(stderr, /near 'bogus': syntax error/);
    }
    assertEquals(daemon.stdout.includes("Reloading"), false);
  }));

Deno.test("hastctl reload tells why the daemon did not take the configuration", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    using rival = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const address = `tcp4://127.0.0.1:${rival.addr.port}`;
    place.configure({ listen: address, more: section("two") });
    assertEquals(await place.hastctl("reload"), {
      code: 71,
      stdout: "",
      stderr: `[ERROR] Unable to listen on address ${address}: Address already in use.\n`,
    });
    assertEquals((await place.hastctl("status", "two")).code, 1);
    assertMatch(daemon.stderr, /\[WARNING\] Configuration not reloaded\./);
  }));

Deno.test("hastctl reload refuses a file that is not the one that the daemon reads", () =>
  inPlace(async (place) => {
    await place.start();
    const text = Deno.readTextFileSync(place.configPath);
    const other = `${place.folder}/new.conf`;
    Deno.writeTextFileSync(other, text + section("two"));
    const refused = await place.hastctl("reload", "-c", other);
    assertEquals(refused, {
      code: 64,
      stdout: "",
      stderr: `[ERROR] hastd reads ${place.configPath}, not ${other}.\n`,
    });
    // What it would do can be told, and under another name it is the same file.
    const told = await place.hastctl("reload", "--dry-run", "-c", other);
    assertEquals([told.code, told.stdout], [0, "data: nothing\ntwo: added, in role init\n"]);
    Deno.symlinkSync(place.configPath, `${place.folder}/link.conf`);
    const linked = await place.hastctl("reload", "-c", `${place.folder}/link.conf`);
    assertEquals([linked.code, linked.stdout], [0, "data: nothing\n"]);
  }));

Deno.test("hastctl attach brings components back and says which needed it", () =>
  inPlace(async (place) => {
    place.configure({ more: section("repaired") + section("broken") });
    await startPrimary(place);
    await setRole(place, 2, "repaired");
    await setRole(place, 2, "broken");
    assertEquals(await place.hastctl("attach", "data", "repaired"), {
      code: 0,
      stdout: "data: was in service\nrepaired: back in service\n",
      stderr: "",
    });
    assertEquals(await place.hastctl("attach", "broken", "nosuch", "data"), {
      code: 74,
      stdout: "data: was in service\n",
      stderr: "[ERROR] [broken] Unable to bring the local component back: Input/output error.\n" +
        "[WARNING] [nosuch] Received error 1 from hastd.\n",
    });
    await setRole(place, 1, "broken");
    assertEquals(await place.hastctl("attach", "broken"), {
      code: 69,
      stdout: "",
      stderr: "[ERROR] [broken] No worker process that could do it.\n",
    });
    const all = await place.hastctl("attach", "all");
    assertEquals([all.code, all.stdout], [
      69,
      "data: was in service\nrepaired: back in service\n",
    ]);
  }));

Deno.test("hastctl status --json tells everything that is known", () =>
  inPlace(async (place) => {
    place.configure({
      more: section("rich", "timeout 9\nsync-rate 3M\nexec /hook\nmetaflush off"),
    });
    const daemon = await startPrimary(place, "rich");
    const document = await json(place);
    assertEquals(document.version, 1);
    assertEquals(document.daemon, {
      pid: daemon.child.pid,
      configPath: place.configPath,
      nodeName: "nodea",
      control: `${place.folder}/ctl`,
      pidfile: `${place.folder}/hastd.pid`,
      listen: [`tcp4://127.0.0.1:${place.port}`],
    });
    assertEquals(at(document, "resources", 1), {
      name: "rich",
      error: 0,
      role: "primary",
      status: "complete",
      workerPid: await workerPid(place, "rich"),
      config: {
        provider: "rich",
        providerNbd: null,
        local: "/nonexistent/rich",
        remote: "tcp4://127.0.0.1",
        source: null,
        replication: "memsync",
        checksum: "none",
        compression: "hole",
        timeoutSeconds: 9,
        exec: "/hook",
        metaflush: false,
        syncRateBytesPerSecond: 3145728,
        secret: [],
      },
      connection: {
        state: "connected",
        reason: null,
        message: null,
        since: "2026-01-02T03:04:05.006Z",
      },
      localComponent: { state: "out-of-service", errno: 5, message: "Input/output error" },
      extentSizeBytes: 2097152,
      keepdirtyCount: 64,
      dirtyBytes: 2097152,
      staleBytes: 3221225472,
      sync: {
        active: true,
        direction: "to-peer",
        totalBytes: 4294967296,
        copiedBytes: 1073741824,
        bytesPerSecond: 52428800,
        secondsLeft: 61,
      },
      resuid: "18446744073709551615",
      localcnt: "9007199254740993",
      remotecnt: "0",
      statistics: {
        reads: 1,
        writes: 2,
        deletes: 3,
        flushes: 4,
        activemapUpdates: 5,
        readErrors: 6,
        writeErrors: 7,
        deleteErrors: 8,
        flushErrors: 9,
      },
      queues: { local: 11, send: 12, recv: 13, done: 14, idle: 10 },
    });
    const idle = at(document, "resources", 0);
    assertEquals([at(idle, "role"), at(idle, "status"), at(idle, "workerPid")], [
      "init",
      null,
      null,
    ]);
    assertEquals(at(idle, "connection", "state"), "none");
    for (const field of ["sync", "localComponent", "staleBytes", "resuid", "statistics"]) {
      assertEquals(at(idle, field), null, field);
    }
  }));

Deno.test("--json has the same document for status and list, and unknown names with exit code 1", () =>
  inPlace(async (place) => {
    await place.start();
    const [status, list] = await Promise.all(
      ["status", "list"].map((verb) => place.hastctl(verb, "--json", "data", "nosuch")),
    );
    assertEquals(status, list);
    assertEquals([status?.code, status?.stderr], [1, ""]);
    assertEquals(at(JSON.parse(status?.stdout ?? ""), "resources", 1), {
      name: "nosuch",
      error: 1,
    });
  }));

Deno.test("a secondary's split-brain stays in the status until the nodes are connected", () =>
  inPlace(async (place) => {
    place.configure({ more: section("apart").replace("/nonexistent", place.folder) });
    const daemon = await place.start();
    const refusals = () => daemon.stderr.match(/exitcode=78/g)?.length ?? 0;
    const state = async () => at(await json(place, "apart"), "resources", 0, "connection");
    await setRole(place, 3, "apart");
    assertEquals(at(await state(), "state"), "waiting");
    const earliestMs = Date.now();
    for (const count of [1, 2]) {
      const { conns, answer } = await attemptTwice(place, "apart");
      assertEquals(answer, undefined);
      for (const conn of conns) conn[Symbol.dispose]();
      await waitFor("the worker has refused", () => refusals() === count);
    }
    const refused = await state();
    const { since, ...rest } = Object(refused);
    assertEquals(rest, {
      state: "refused",
      reason: "split-brain",
      message: "Split-brain condition!",
    });
    assert(Date.parse(since) >= earliestMs && Date.parse(since) <= Date.now());
    // Ending the role, as one does to initialise the component, does not resolve anything yet.
    await setRole(place, 1, "apart");
    assertEquals(await state(), refused);
    await setRole(place, 3, "apart");
    Deno.writeTextFileSync(`${place.folder}/apart`, "");
    const conns = await connectTwice(place, "apart");
    await waitFor(
      "the nodes are connected",
      async () => at(await state(), "state") === "connected",
    );
    for (const conn of conns) conn[Symbol.dispose]();
    await setRole(place, 1, "apart");
    assertEquals(at(await state(), "state"), "none");
  }));

Deno.test("a primary's split-brain is in the status, and stays when its worker starts again", () =>
  inPlace(async (place) => {
    place.configure({ more: section("apart") });
    await place.start();
    await setRole(place, 2, "apart");
    const state = async () => at(await json(place, "apart"), "resources", 0, "connection");
    await waitFor("the refusal is told", async () => at(await state(), "reason") === "split-brain");
    const refused = await state();
    const pid = await workerPid(place, "apart");
    Deno.kill(pid, "SIGKILL");
    await waitFor("another worker runs", async () => {
      return ![0, pid].includes(await workerPid(place, "apart"));
    });
    assertEquals(await state(), refused);
  }));

Deno.test("hooks learn why: a component that failed, a split-brain", () =>
  inPlace(async (place) => {
    const hook = `${place.folder}/hook`;
    const script =
      '#!/bin/sh\necho "$*|$HAST_RESOURCE|$HAST_ROLE|$HAST_PEER|$HAST_REASON" >> "$0.out"\n';
    Deno.writeTextFileSync(hook, script, { mode: 0o755 });
    const exec = `exec ${hook}`;
    place.configure({ more: section("broken", exec) + section("apart", exec) });
    await place.start();
    await setRole(place, 2, "broken");
    await setRole(place, 2, "apart");
    const lines = () => {
      try {
        return Deno.readTextFileSync(`${hook}.out`).trimEnd().split("\n").sort();
      } catch {
        return []; // No hook has run yet.
      }
    };
    await waitFor("all hooks", () => lines().length === 5);
    const peer = "tcp4://127.0.0.1";
    assertEquals(lines(), [
      `connect broken|broken|primary|${peer}|worker`,
      `localfail broken|broken|primary|${peer}|Input/output error`,
      `role apart init primary|apart|primary|${peer}|control`,
      `role broken init primary|broken|primary|${peer}|control`,
      `split-brain apart|apart|primary|${peer}|worker`,
    ]);
  }));
