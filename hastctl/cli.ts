/**
 * hastctl: from arguments to an exit code.
 *
 * Source: hastctl(8); control.md, hastctl.
 * @module
 */
import { EX, HastError, invariant, unreachable } from "../base/errors.ts";
import type { Config } from "../conf/config.ts";
import { loadConfig } from "../conf/load.ts";
import type { NodeIdentity } from "../conf/node_identity.ts";
import { attachComponents } from "./attach.ts";
import { fullPathOf, printConfig } from "./config.ts";
import { createComponents } from "./create.ts";
import { dumpComponents } from "./dump.ts";
import { Interrupt } from "./interrupt.ts";
import { type Io, logOn, processIo } from "./io.ts";
import { printJson } from "./json.ts";
import { printList } from "./list.ts";
import { HELP, type Invocation, parseInvocation, USAGE, UsageError } from "./options.ts";
import { reloadDaemon } from "./reload.ts";
import { setRole } from "./role.ts";
import { printStatus } from "./status.ts";
import { stopDaemon } from "./stop.ts";
import { watchResources } from "./watch.ts";

/** Says which node this is; the argument is that of `-n`. */
export type IdentityOf = (nodeName?: string) => NodeIdentity;

const EXIT_CODE_MAX = 255;

/**
 * Runs hastctl. Never ends the process.
 *
 * @param args What stands behind the program's name.
 * @returns The exit code.
 */
export async function hastctlMain(
  args: readonly string[],
  identityOf: IdentityOf,
  io: Io = processIo,
): Promise<number> {
  try {
    const invocation = parseInvocation(args);
    if (invocation === "help") {
      io.stdout(HELP);
      return EX.ok;
    }
    return clampExitCode(await runVerb(invocation, identityOf, io));
  } catch (thrown) {
    if (!(thrown instanceof HastError)) throw thrown;
    if (thrown instanceof UsageError) complain(thrown, io);
    else logOn(io, 0).error(thrown.message);
    return thrown.exitCode;
  }
}

function complain(error: UsageError, io: Io): void {
  const complaint = error.message === "" ? "" : `hastctl: ${error.message}\n`;
  io.stderr(complaint + (error.withUsage ? USAGE : ""));
}

async function runVerb(
  invocation: Invocation,
  identityOf: IdentityOf,
  io: Io,
): Promise<number> {
  const { verb, names } = invocation;
  const identity = identityOf(invocation.nodeName);
  if (verb === "config") return printConfig(invocation, identity, io);
  if (verb === "reload") return await reload(invocation, identityOf, io);
  const config = loadConfig(invocation.configPath, Deno.readTextFileSync, identity);
  switch (verb) {
    case "create":
      return createComponents(config, invocation, io);
    case "dump":
      return dumpComponents(config, invocation, io);
    case "list":
    case "status":
      if (invocation.json) return await printJson(config, names, io);
      return await (verb === "list" ? printList : printStatus)(config, names, io);
    case "role":
      invariant(invocation.role !== undefined, "the verb role comes with a role");
      return await setRole(config, { ...invocation, role: invocation.role }, io);
    case "attach":
      return await attachComponents(config, invocation, io);
    case "stop":
      return await stopDaemon(config, invocation, io);
    case "watch":
      return await watch(config, invocation, io);
    default:
      return unreachable(verb);
  }
}

async function reload(
  invocation: Invocation,
  identityOf: IdentityOf,
  io: Io,
): Promise<number> {
  const configPath = fullPathOf(invocation.configPath);
  const configOf = (nodeName: string | undefined) =>
    loadConfig(configPath, Deno.readTextFileSync, identityOf(nodeName));
  const config = configOf(invocation.nodeName);
  return await reloadDaemon(config, configOf, { ...invocation, configPath }, io);
}

async function watch(config: Config, invocation: Invocation, io: Io): Promise<number> {
  const interrupt = new Interrupt();
  try {
    return await watchResources(config, invocation, io, interrupt);
  } finally {
    interrupt.close();
  }
}

/** Error numbers of the daemon end here as exit codes: none may come out as success. */
function clampExitCode(code: number): number {
  return code >= 0 && code <= EXIT_CODE_MAX ? code : EXIT_CODE_MAX;
}
