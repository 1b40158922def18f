import { assertEquals, assertThrows } from "@std/assert";
import { EX, HastError } from "../base/errors.ts";
import { logTo } from "../base/log.ts";
import { openDescriptors } from "../ffi/descriptor.ts";
import { openPidfile } from "./pidfile.ts";

/** Runs `use` with a path in a folder of its own, a log and what was logged. */
async function withPath(
  use: (path: string, messages: string[]) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(`${folder}/hastd.pid`, []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const logInto = (messages: string[]) =>
  logTo((record) => messages.push(`${record.level} ${record.message}`));

Deno.test("a pidfile is private, holds the number and is removed at the end", () =>
  withPath((path, messages) => {
    const before = openDescriptors().length;
    const oldMask = Deno.umask(0);
    const pidfile = openPidfile(path, logInto(messages));
    Deno.umask(oldMask);
    assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
    pidfile?.write(4711, logInto(messages));
    assertEquals(Deno.readTextFileSync(path), "4711");
    assertEquals(messages, [`debug PID stored in ${path}.`]);
    pidfile?.close();
    assertThrows(() => Deno.statSync(path), Deno.errors.NotFound);
    assertEquals(openDescriptors().length, before);
  }));

Deno.test("a number left by a daemon that crashed is overwritten", () =>
  withPath((path, messages) => {
    Deno.writeTextFileSync(path, "1234567890\n");
    const pidfile = openPidfile(path, logInto(messages));
    assertEquals(Deno.readTextFileSync(path), "");
    pidfile?.write(5, logInto(messages));
    assertEquals(Deno.readTextFileSync(path), "5");
    pidfile?.close();
  }));

Deno.test("a pidfile that cannot be opened is a warning only", () =>
  withPath((path, messages) => {
    const before = openDescriptors().length;
    assertEquals(openPidfile(`${path}/x/y`, logInto(messages)), undefined);
    Deno.mkdirSync(path);
    assertEquals(openPidfile(path, logInto(messages)), undefined);
    assertEquals(messages, [
      `warning Unable to open or create pidfile ${path}/x/y: No such file or directory.`,
      `warning Unable to open or create pidfile ${path}: Is a directory.`,
    ]);
    assertEquals(openDescriptors().length, before);
  }));

Deno.test("a pidfile held by another process is exit 75 and names the process", () =>
  withPath(async (path, messages) => {
    const source = `
      import { openPidfile } from ${JSON.stringify(import.meta.resolve("./pidfile.ts"))};
      import { logTo } from ${JSON.stringify(import.meta.resolve("../base/log.ts"))};
      const log = logTo(() => {});
      openPidfile(Deno.args[0], log).write(Deno.pid, log);
      console.log("locked");
      await Deno.stdin.read(new Uint8Array(1));`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `data:text/javascript,${encodeURIComponent(source)}`, path],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    const before = openDescriptors().length;
    const error = assertThrows(() => openPidfile(path, logInto(messages)), HastError);
    assertEquals(
      [error.message, error.exitCode],
      [`Another hastd is already running, pidfile: ${path}, pid: ${child.pid}.`, EX.tempFail],
    );
    assertEquals(openDescriptors().length, before);
    await child.stdin.close();
    await child.status;
    await reader.cancel();
    // It ended without removing its file: the lock is gone all the same.
    openPidfile(path, logInto(messages))?.close();
    assertEquals(messages, []);
  }));

Deno.test("a holder that has not written its number yet is pid -1", () =>
  withPath((path, messages) => {
    const pidfile = openPidfile(path, logInto(messages));
    const error = assertThrows(() => openPidfile(path, logInto(messages)), HastError);
    assertEquals(
      error.message,
      `Another hastd is already running, pidfile: ${path}, pid: -1.`,
    );
    pidfile?.close();
  }));
