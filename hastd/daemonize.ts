/**
 * The background mode: this program starts itself again, and the first process stays until the
 * second says that it serves, or has failed.
 *
 * How `main.ts` and `hastd/daemon.ts` use it:
 *
 * 1. Without `-F`, and if {@link isBackgroundChild} is false, the outermost frame does
 *    `Deno.exit(await runInBackground(Deno.args))` before it opens anything. What the child
 *    prints until it is ready, and its exit code if it never gets there, become this process's.
 * 2. In the child {@link isBackgroundChild} is true. It starts like in the foreground: a log to
 *    standard output and error, configuration, pidfile (it holds the lock, its number is the
 *    daemon's), listeners. A failure ends it with its message and code.
 * 3. When it listens on everything: {@link announceReady}, then `createLog({mode: "background"})`
 *    and `pidfile.write(Deno.pid, log)`. From there on it has no terminal.
 *
 * Relative paths must be made absolute before step 3: the directory becomes `/`.
 *
 * Source: hastd(8), control.md; daemon(3).
 * @module
 */
import { EX } from "../base/errors.ts";
import { leaveCaller } from "../ffi/process.ts";
import { selfCommand } from "./self_command.ts";

/** Tells the child that it is one; its value is of no interest. */
const CHILD_VARIABLE = "HASTD_BACKGROUND_CHILD";

/** Ends the part of the child's standard output that is for the caller. */
const READY = 0;

/** True in the process that {@link runInBackground} has started. */
export function isBackgroundChild(): boolean {
  return Deno.env.has(CHILD_VARIABLE);
}

/**
 * Starts this program again and waits until it is ready or has ended.
 *
 * @param childArgs Arguments of the program, the same as in the foreground.
 * @returns 0 when the child serves; otherwise what it exited with, for this process to exit with.
 */
export async function runInBackground(childArgs: readonly string[]): Promise<number> {
  const { path, args } = selfCommand(childArgs);
  const child = new Deno.Command(path, {
    args,
    env: { [CHILD_VARIABLE]: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const ready = await relayUntilReady(child.stdout);
  if (ready) {
    child.unref();
    return EX.ok;
  }
  const { code } = await child.status;
  // Ended without a word and without an error: it does not serve, so this is none of success.
  return code === 0 ? EX.software : code;
}

/** Copies what the child prints; true if the mark comes, false if the output ends before. */
async function relayUntilReady(output: ReadableStream<Uint8Array>): Promise<boolean> {
  for await (const chunk of output) {
    const end = chunk.indexOf(READY);
    writeAll(end === -1 ? chunk : chunk.subarray(0, end));
    if (end !== -1) return true;
  }
  return false;
}

function writeAll(bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
}

/**
 * The child serves: ends the process that waits in {@link runInBackground}, then lets go of the
 * terminal, the directory and standard input, output and error.
 *
 * @throws {SystemError} /dev/null cannot be opened.
 */
export function announceReady(): void {
  // The daemon's own children are none of these.
  Deno.env.delete(CHILD_VARIABLE);
  try {
    Deno.stdout.writeSync(new Uint8Array([READY]));
  } catch {
    // The waiting process was killed meanwhile; that is no reason to end the daemon.
  }
  leaveCaller();
}
