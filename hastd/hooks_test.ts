import { assertEquals, assertMatch } from "@std/assert";
import { Recorder } from "../tests/support/recorder.ts";
import { waitFor } from "../tests/support/wait.ts";
import { type HookCall, Hooks } from "./hooks.ts";

const CALL: HookCall = {
  execPath: undefined,
  args: ["role", "data", "init", "primary"],
  resourceName: "data",
  role: "primary",
  peer: "tcp4://10.0.0.2",
  reason: "control",
};

async function withScript(text: string, test: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "hast-hooks-" });
  try {
    const path = `${folder}/hook`;
    await Deno.writeTextFile(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    await test(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function linesOf(recorder: Recorder, path: string): string[] {
  return recorder.masked().map((line) => line.replaceAll(path, "HOOK"));
}

Deno.test("a hook gets its arguments and environment, and its end is logged", async () => {
  const script = 'echo "$@|$HAST_RESOURCE|$HAST_ROLE|$HAST_PEER|$HAST_REASON" > "$0.out"';
  await withScript(script, async (path) => {
    const recorder = new Recorder();
    new Hooks(recorder.log, { quiet: true }).run({ ...CALL, execPath: path });
    await waitFor("the hook's end is logged", () => recorder.lines.length === 2);
    assertEquals(linesOf(recorder, path), [
      "[DEBUG][1] Executing hook: HOOK role data init primary",
      "[DEBUG][1] Hook exited gracefully (pid=N, cmd=[HOOK role data init primary]).",
    ]);
    assertEquals(
      await Deno.readTextFile(`${path}.out`),
      "role data init primary|data|primary|tcp4://10.0.0.2|control\n",
    );
  });
});

Deno.test("a reason that the other node gave is one short line", async () => {
  await withScript('printf %s "$HAST_REASON" > "$0.out"; mv "$0.out" "$0.end"', async (path) => {
    const recorder = new Recorder();
    const reason = `a\0b\nc\x1b${"x".repeat(1000)}`;
    new Hooks(recorder.log, { quiet: true }).run({ ...CALL, execPath: path, reason });
    await waitFor("the hook's end is logged", () => recorder.lines.length === 2);
    assertEquals(await Deno.readTextFile(`${path}.end`), `a?b?c?${"x".repeat(250)}`);
  });
});

Deno.test("a hook that fails, is killed or cannot be started is an error", async () => {
  for (
    const [script, end] of [
      [
        "exit 3",
        "Hook exited ungracefully (pid=N, exitcode=3, cmd=[HOOK role data init primary]).",
      ],
      ["kill -9 $$", "Hook was killed (pid=N, signal=9, cmd=[HOOK role data init primary])."],
    ] as const
  ) {
    await withScript(script, async (path) => {
      const recorder = new Recorder();
      new Hooks(recorder.log, { quiet: true }).run({ ...CALL, execPath: path });
      await waitFor("the hook's end is logged", () => recorder.lines.length === 2);
      assertEquals(linesOf(recorder, path)[1], `[ERROR] ${end}`);
    });
  }
  const recorder = new Recorder();
  new Hooks(recorder.log, { quiet: true }).run({ ...CALL, execPath: "/nonexistent/hook" });
  assertEquals(
    recorder.lines[1],
    "[ERROR] Unable to execute /nonexistent/hook: No such file or directory.",
  );
});

Deno.test("a hook that runs for long is reported again and again, until it ends", async () => {
  await withScript('while [ ! -e "$0.end" ]; do sleep 0.05; done', async (path) => {
    const recorder = new Recorder();
    const hooks = new Hooks(recorder.log, { quiet: true, reportIntervalMs: 10 });
    hooks.run({ ...CALL, execPath: path });
    await waitFor("three reports", () => recorder.lines.length >= 4);
    await Deno.writeTextFile(`${path}.end`, "");
    await waitFor("the end", () => recorder.lines.at(-1)?.includes("exited gracefully"));
    assertMatch(
      linesOf(recorder, path)[2] ?? "",
      /^\[WARNING\] Hook is running for 0 seconds \(pid=N, cmd=\[HOOK role data init primary\]\)\.$/,
    );
  });
});

Deno.test("a resource without exec runs nothing", () => {
  const recorder = new Recorder();
  new Hooks(recorder.log, { quiet: true }).run(CALL);
  assertEquals(recorder.lines, []);
});
