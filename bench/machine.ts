/**
 * What a figure is worth nothing without: the machine and the versions it was taken with.
 * @module
 */
import { run } from "../tests/support/process.ts";

async function firstLine(program: string, ...args: string[]): Promise<string> {
  const result = await run(program, ...args);
  return (result.stdout + result.stderr).split("\n")[0]?.trim() ?? "";
}

async function processor(): Promise<string> {
  const { stdout } = await run(
    "sh",
    "-c",
    "grep -m 1 'model name' /proc/cpuinfo || sysctl hw.model",
  );
  return stdout.split(":")[1]?.trim() ?? "unknown processor";
}

/** The commit that runs, marked where files differ from it. */
export async function commit(): Promise<string> {
  return await firstLine("git", "describe", "--always", "--dirty", "--abbrev=10");
}

/** A few lines for people. */
export async function describeMachine(folder: string): Promise<string[]> {
  const gib = Deno.systemMemoryInfo().total / 2 ** 30;
  return [
    `${await processor()}, ${navigator.hardwareConcurrency} CPUs, ${gib.toFixed(0)} GiB`,
    await firstLine("uname", "-srm"),
    `Deno ${Deno.version.deno}, ${await firstLine("fio", "--version")}, ` +
    await firstLine("nbdkit", "--version"),
    `components on ${(await run("stat", "-f", "-c", "%T", folder)).stdout.trim()}`,
    `load average before the run ${Deno.loadavg()[0]?.toFixed(2)}`,
  ];
}
