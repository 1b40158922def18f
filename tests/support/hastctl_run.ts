/**
 * hastctl within the process of a test, and the vectors that say what it has to print.
 * @module
 */
import { hastctlMain } from "../../hastctl/cli.ts";
import { nodeIdentity } from "../../hastd/node_identity.ts";
import { statusOf } from "../../ffi/descriptor.ts";
import { libc } from "../../ffi/libc.ts";
import type { Result } from "./process.ts";

// Opens the C library, for good: within a test, Deno would take that for a leak of the test.
libc();
statusOf(0);

/** A vector that runs hastctl; files of vectors have more fields than these. */
export interface HastctlCase {
  what: string;
  argv: string[];
  exit_code: number;
  stdout: string;
  stderr: string;
}

/** Runs hastctl as node `nodea`, and collects what it prints. */
export async function runHastctl(...args: string[]): Promise<Result> {
  const result: Result = { code: 0, stdout: "", stderr: "" };
  result.code = await hastctlMain(asNodeA(args), nodeIdentity, {
    stdout: (text) => result.stdout += text,
    stderr: (text) => result.stderr += text,
  });
  return result;
}

/** The vectors come from a host of that name: say so, where there is a command at all. */
function asNodeA(args: string[]): string[] {
  const [verb, ...rest] = args;
  return verb === undefined || verb.startsWith("-") ? args : [verb, "-n", "nodea", ...rest];
}

/** Reads a file of `tests/vectors`. */
export function readVectors<T>(name: string): T {
  const url = new URL(`../vectors/${name}`, import.meta.url);
  return JSON.parse(Deno.readTextFileSync(url));
}

/** Runs `body` with a folder of its own, which is removed afterwards. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "hast-test-" });
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}
