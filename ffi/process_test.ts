import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { fitTitle, getpid, kill, processExists, setUmask } from "./process.ts";

Deno.test("fitTitle() keeps the role when it shortens a title", () => {
  assertEquals(fitTitle("hastd: a (primary)", 18), "hastd: a (primary)");
  assertEquals(fitTitle("hastd: abcdef (primary)", 22), "hastd: ab... (primary)");
  assertEquals(fitTitle("hastd: äöü (primary)", 22), "hastd: ä... (primary)");
  assertEquals(fitTitle("no brackets here", 10), "no brac...");
  assertEquals(fitTitle("hastd: abcdef (primary)", 5), "... (");
  assertEquals(fitTitle("x", 0), "");
});

Deno.test("getpid() and processExists() know this process, kill() tells what is wrong", () => {
  assertEquals(getpid(), Deno.pid);
  assert(processExists(Deno.pid));
  assertEquals(processExists(2 ** 22 + 1), false);
  assertEquals(kill(2 ** 22 + 1, "SIGTERM"), ERRNO.ESRCH);
});

Deno.test("setUmask() returns what it was before", () => {
  const before = setUmask(0o077);
  assertEquals(setUmask(before), 0o077);
  assertEquals(setUmask(before), before);
});

/** Runs a module that prints a line when it is ready and ends with its standard input. */
async function withProcess(
  source: string,
  args: string[],
  use: (pid: number) => Promise<void>,
): Promise<void> {
  const text = `${source}
    console.log("ready");
    await Deno.stdin.read(new Uint8Array(1));`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `data:text/javascript,${encodeURIComponent(text)}`, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  try {
    await use(child.pid);
  } finally {
    await child.stdin.close();
    await child.status;
    await reader.cancel();
  }
}

async function output(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command(program, { args, stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim();
}

Deno.test("setTitle() is what ps and pgrep -f show", async () => {
  const title = "hastd: data (secondary)";
  const source = `
    import { setTitle } from ${JSON.stringify(import.meta.resolve("./process.ts"))};
    setTitle(${JSON.stringify(title)});`;
  await withProcess(source, [], async (pid) => {
    assertEquals(await output("ps", "-o", "args=", "-p", String(pid)), title);
    const pids = (await output("pgrep", "-f", "^hastd: data \\(secondary\\)")).split("\n");
    assert(pids.includes(String(pid)));
    assertEquals(await output("ps", "-o", "comm=", "-p", String(pid)), "hastd");
  });
});

Deno.test("setTitle() has as much room as the arguments took", async () => {
  const title = `hastd: ${"x".repeat(3000)} (primary)`;
  const source = `
    import { setTitle } from ${JSON.stringify(import.meta.resolve("./process.ts"))};
    setTitle(Deno.args[0]);
    if (Deno.args[0].length !== ${title.length} || !Deno.execPath().includes("deno")) Deno.exit(1);`;
  await withProcess(source, [title], async (pid) => {
    assertEquals(await output("ps", "-ww", "-o", "args=", "-p", String(pid)), title);
  });
});

Deno.test({
  name: "leaveCaller() lets go of the terminal, the directory and every standard file",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const source = `
      import { leaveCaller } from ${JSON.stringify(import.meta.resolve("./process.ts"))};
      console.log("to be seen");
      leaveCaller();
      console.log("not to be seen");
      setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `data:text/javascript,${encodeURIComponent(source)}`],
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    // Both streams end although the process lives: it holds no descriptor of them any more.
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    assertEquals([stdout, stderr], ["to be seen\n", ""]);
    assert(processExists(child.pid));
    assertEquals(await output("ps", "-o", "sid=", "-p", String(child.pid)), String(child.pid));
    assertEquals(Deno.readLinkSync(`/proc/${child.pid}/cwd`), "/");
    assertEquals(kill(child.pid, "SIGKILL"), 0);
    await child.status;
  },
});
