/**
 * Programs run by tests, and what the system says of processes.
 * @module
 */
import { within } from "./wait.ts";

/** What a program that has ended left. */
export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

const TIMEOUT_MS = 120_000;

/** Root's programs live where an ordinary PATH does not lead. */
function searchPath(): string {
  return `${Deno.env.get("PATH") ?? ""}:/usr/sbin:/sbin:/usr/local/sbin`;
}

/** Runs a program to its end, at most two minutes; it reads nothing from standard input. */
export async function run(program: string, ...args: string[]): Promise<Result> {
  const command = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { PATH: searchPath(), LC_ALL: "C" },
  });
  const child = command.spawn();
  let output: Deno.CommandOutput;
  try {
    output = await within(`${program} ${args.join(" ")} ends`, child.output(), TIMEOUT_MS);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
  const decoder = new TextDecoder();
  return {
    code: output.code,
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
  };
}

/**
 * Runs a program that must succeed.
 *
 * @returns Its standard output.
 * @throws {Error} It ended with a code other than 0; the message has what it printed.
 */
export async function runOk(program: string, ...args: string[]): Promise<string> {
  const result = await run(program, ...args);
  if (result.code !== 0) {
    throw new Error(
      `${program} ${args.join(" ")} ended with ${result.code}\n${result.stdout}${result.stderr}`,
    );
  }
  return result.stdout;
}

/** Starts a program whose output, both kinds, is appended to a file. */
export function startLogged(
  logPath: string,
  program: string,
  args: string[],
  env: Record<string, string> = {},
): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: ["-c", 'log=$1; shift; exec "$@" >>"$log" 2>&1', "sh", logPath, program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    env: { PATH: searchPath(), LC_ALL: "C", ...env },
  }).spawn();
}

/** Process ids whose command line matches an extended regular expression. */
export async function pgrep(pattern: string): Promise<number[]> {
  const { stdout } = await run("pgrep", "-f", pattern);
  return stdout.split("\n").filter((line) => line !== "").map(Number);
}

/** True while the process is there; one that has ended but was not waited for does not count. */
export async function isAlive(pid: number): Promise<boolean> {
  const { stdout } = await run("ps", "-o", "stat=", "-p", String(pid));
  return stdout.trim() !== "" && !stdout.trim().startsWith("Z");
}

/** kill -9; one that has ended already is no error. */
export function killHard(pid: number): void {
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
