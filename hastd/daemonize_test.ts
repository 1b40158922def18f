import { assert, assertEquals } from "@std/assert";
import { EX } from "../base/errors.ts";
import { kill, processExists } from "../ffi/process.ts";

const MODULE = JSON.stringify(import.meta.resolve("./daemonize.ts"));

/** Starts a program that goes to the background and does `childSource` there. */
function start(childSource: string, ...args: string[]): Deno.ChildProcess {
  const source = `
    import { announceReady, isBackgroundChild, runInBackground } from ${MODULE};
    if (!isBackgroundChild()) Deno.exit(await runInBackground(Deno.args));
    ${childSource}`;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", `data:text/javascript,${encodeURIComponent(source)}`, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function outcome(child: Deno.ChildProcess): Promise<[number, string, string]> {
  const [{ code }, stdout, stderr] = await Promise.all([
    child.status,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return [code, stdout, stderr];
}

Deno.test("runInBackground() ends when the child serves, which lets go of everything", async () => {
  // outcome() returns only when nobody holds the caller's output any more.
  const [code, stdout, stderr] = await outcome(start(
    `
    console.log(Deno.pid, Deno.args.join());
    console.error("a warning");
    announceReady();
    console.log("not for the caller");
    console.error("not for the caller");
    if (isBackgroundChild()) Deno.exit(1); // What it starts from here is no such child.
    setInterval(() => {}, 1000);`,
    "-c",
    "a b",
  ));
  const pid = Number(/^\d+/.exec(stdout)?.[0]);
  assertEquals([code, stdout, stderr], [EX.ok, `${pid} -c,a b\n`, "a warning\n"]);
  assert(processExists(pid));
  const { stdout: ps } = await new Deno.Command("ps", {
    args: ["-o", "sid=,tty=", "-p", String(pid)],
  }).output();
  assertEquals(new TextDecoder().decode(ps).trim().split(/\s+/), [String(pid), "?"]);
  assertEquals(kill(pid, "SIGKILL"), 0);
});

Deno.test("runInBackground() waits until the child serves", async () => {
  const folder = await Deno.makeTempDir();
  const child = start(
    `
    console.log("starting");
    const watcher = Deno.watchFs(Deno.args[0]);
    console.log("watching", Deno.pid);
    for await (const { paths } of watcher) if (paths[0].endsWith("go")) break;
    announceReady();
    Deno.exit(0);`,
    folder,
  );
  const [forUs, forOutcome] = child.stdout.tee();
  let seen = "";
  for await (const chunk of forUs.pipeThrough(new TextDecoderStream())) {
    seen += chunk;
    if (!/watching \d+\n/.test(seen)) continue;
    assert(processExists(child.pid), "the caller waits");
    await Deno.writeTextFile(`${folder}/go`, "");
    break;
  }
  await forOutcome.cancel();
  await child.stderr.cancel();
  assertEquals((await child.status).code, EX.ok);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a child that fails gives its message and its exit code to the caller", async () => {
  const result = await outcome(start(`
    console.error("[ERROR] Unable to listen on address tcp4://1.2.3.4: Can't assign requested address.");
    Deno.exit(71);`));
  assertEquals(result, [
    EX.osErr,
    "",
    "[ERROR] Unable to listen on address tcp4://1.2.3.4: Can't assign requested address.\n",
  ]);
});

Deno.test("a child that is killed or ends without serving is no success", async () => {
  const kill = await outcome(start(`Deno.kill(Deno.pid, "SIGKILL");`));
  assertEquals(kill[0], 128 + 9);
  const silent = await outcome(start(`Deno.exit(0);`));
  assertEquals(silent, [EX.software, "", ""]);
});

Deno.test("a child whose caller was killed serves all the same", async () => {
  const folder = await Deno.makeTempDir();
  const child = start(
    `
    const watcher = Deno.watchFs(Deno.args[0]);
    console.log("watching", Deno.pid);
    for await (const { paths } of watcher) if (paths[0].endsWith("go")) break;
    announceReady();
    Deno.writeTextFileSync(Deno.args[0] + "/served", "");
    Deno.exit(0);`,
    folder,
  );
  const reader = child.stdout.getReader();
  await reader.read();
  const watcher = Deno.watchFs(folder);
  child.kill("SIGKILL");
  await child.status;
  await Deno.writeTextFile(`${folder}/go`, "");
  const deadline = setTimeout(() => watcher.close(), 5000);
  let served = false;
  for await (const { paths } of watcher) {
    served = paths.some((path) => path.endsWith("served"));
    if (served) break;
  }
  clearTimeout(deadline);
  assert(served);
  await reader.cancel();
  await child.stderr.cancel();
  await Deno.remove(folder, { recursive: true });
});
