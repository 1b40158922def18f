/**
 * Workers as the main process keeps them: roles, ends of every kind, restarts, hooks.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type MainProcess, resourceConfig, withMainProcess } from "../support/main_process.ts";
import { isAlive } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";

const PRIMARY_LINES = [
  "[INFO] [data] (init) Role changed to primary.",
  "[INFO] [data] (primary) Fake worker started with no peer.",
  "[DEBUG][2] [data] (primary) Worker process is ready.",
];

function waitReady(main: MainProcess): Promise<unknown> {
  return waitFor("a worker is ready", () => main.recorder.lines.at(-1)?.endsWith("is ready."));
}

Deno.test("a role change waits until the old worker has really ended", () =>
  withMainProcess([resourceConfig("data")], async (main) => {
    const resource = main.supervisor.find("data");
    assert(resource !== undefined);
    assertEquals(await resource.setRole("primary", "control"), "init");
    await waitReady(main);
    const pid = resource.workerPid;
    assert(await isAlive(pid));
    assertEquals(await resource.setRole("secondary", "control"), "primary");
    assert(!await isAlive(pid));
    assertEquals(resource.workerPid, 0);
    assertEquals(await resource.setRole("secondary", "control"), "secondary");
    assertEquals(main.recorder.masked(), [
      ...PRIMARY_LINES,
      "[INFO] [data] (primary) Role changed to secondary.",
      "[INFO] [data] (primary) Termination signal received, exiting.",
      main.recorder.lines.at(-1) ?? "",
    ]);
    assertMatch(main.recorder.lines.at(-1) ?? "", /Worker process \d+ stopped\.$/);
  }));

Deno.test("role changes that arrive together happen one after the other", () =>
  withMainProcess([resourceConfig("data")], async (main) => {
    const resource = main.supervisor.find("data");
    assert(resource !== undefined);
    const before = await Promise.all(
      (["primary", "init", "primary", "secondary", "primary"] as const)
        .map((role) => resource.setRole(role, "control")),
    );
    assertEquals(before, ["init", "primary", "init", "primary", "secondary"]);
    assertEquals(resource.role, "primary");
    await waitReady(main);
    assert(await isAlive(resource.workerPid));
  }));

Deno.test("a worker that does not end is terminated, then killed", () =>
  withMainProcess([resourceConfig("stubborn")], async (main) => {
    const resource = main.supervisor.find("stubborn");
    await resource?.setRole("primary", "control");
    await waitReady(main);
    await resource?.setRole("init", "control");
    assertEquals(main.recorder.masked().slice(3), [
      "[INFO] [stubborn] (primary) Role changed to init.",
      "[INFO] [stubborn] (primary) SIGTERM ignored.",
      "[ERROR] [stubborn] (init) Worker process killed (pid=N, signal=9).",
    ]);
  }, { stopDelays: { termMs: 100, killMs: 1_000 } }));

Deno.test("a primary's worker that dies of a signal or with 75 is started again", async () => {
  for (
    const [name, end] of [
      ["abort", "Worker process killed (pid=N, signal=6)."],
      ["exit75", "Worker process exited ungracefully (pid=N, exitcode=75)."],
    ] as const
  ) {
    await withMainProcess([resourceConfig(name)], async (main) => {
      await main.supervisor.find(name)?.setRole("primary", "control");
      const startedMs = performance.now();
      await waitFor("two ends", () => main.recorder.masked().length >= 5);
      const round = [
        `[ERROR] [${name}] (primary) ${end}`,
        `[INFO] [${name}] (primary) Restarting worker process.`,
      ];
      assertEquals(main.recorder.masked().slice(1, 4), [...round, round[0] ?? ""]);
      assert(performance.now() - startedMs >= 1_000);
      assertEquals(main.supervisor.find(name)?.role, "primary");
      // The second restart is two seconds away; the end of the role calls it off.
      await main.supervisor.find(name)?.setRole("init", "control");
    });
  }
});

Deno.test("any other end of a primary's worker returns the role to init", () =>
  withMainProcess([resourceConfig("exit66")], async (main) => {
    const resource = main.supervisor.find("exit66");
    await resource?.setRole("primary", "control");
    await waitFor("the role is init", () => resource?.role === "init");
    assertEquals(main.recorder.masked().slice(1), [
      "[ERROR] [exit66] (primary) Worker process exited ungracefully (pid=N, exitcode=66).",
      "[INFO] [exit66] (primary) Changing resource role back to init.",
    ]);
    assertEquals(resource?.workerPid, 0);
  }));

Deno.test("what a worker writes beside messages is logged as an error", () =>
  withMainProcess([resourceConfig("noisy")], async (main) => {
    await main.supervisor.find("noisy")?.setRole("primary", "control");
    await waitFor("both lines", () => main.recorder.lines.length >= 5);
    const lines = main.recorder.lines;
    assert(lines.includes("[ERROR] [noisy] (primary) not json"));
    assert(lines.includes("[ERROR] [noisy] (primary) a line of standard error"));
  }));

Deno.test("hooks run for roles and for what the worker reports", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hast-exec-" });
  const script = `${folder}/hook`;
  const text = 'echo "$@ $HAST_ROLE $HAST_PEER $HAST_REASON" >> "$0.out"';
  await Deno.writeTextFile(script, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const output = () => {
    try {
      return Deno.readTextFileSync(`${script}.out`).split("\n").filter((line) => line !== "");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  };
  try {
    const config = resourceConfig("data", { execPath: script });
    await withMainProcess([config], async (main) => {
      const resource = main.supervisor.find("data");
      await resource?.setRole("primary", "control");
      await waitFor("two hooks", () => output().length === 2);
      await resource?.setRole("init", "reload");
      await waitFor("three hooks", () => output().length === 3);
      const remote = "tcp4://127.0.0.1";
      assertEquals(output().sort(), [
        `connect data primary ${remote} worker`,
        `role data init primary primary ${remote} control`,
        `role data primary init init ${remote} reload`,
      ]);
      const prefix = "[DEBUG][1] [data] (primary) Executing hook: ";
      assert(main.recorder.lines.includes(`${prefix}${script} connect data`));
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the end of the daemon stops every worker and leaves none", () => {
  const names = ["one", "two", "three"];
  return withMainProcess(names.map((name) => resourceConfig(name)), async (main) => {
    const { supervisor, recorder } = main;
    await Promise.all(supervisor.resources.map((each) => each.setRole("primary", "control")));
    await waitFor(
      "all are ready",
      () => recorder.lines.filter((line) => line.endsWith("is ready.")).length === names.length,
    );
    const pids = supervisor.resources.map(({ workerPid }) => workerPid);
    await supervisor.close();
    for (const pid of pids) assert(!await isAlive(pid));
    assertEquals(
      recorder.masked().filter((line) => line.includes("Terminating")),
      names.map((name) =>
        `[INFO] Terminating worker process (resource=${name}, role=primary, pid=N).`
      ),
    );
  });
});
