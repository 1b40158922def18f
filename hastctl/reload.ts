/**
 * `hastctl reload`: checks the configuration file with hastd's own parser, makes hastd read it, and
 * says what that did; with `-n` only what it would do.
 *
 * Source: docs/hastctl.8; docs/control_protocol.md; control.md, Reload.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import type { Config, ResourceConfig } from "../conf/config.ts";
import { type CurrentResource, planReload, type ResourcePlan } from "../conf/reload.ts";
import type { DaemonReply } from "../protocol/control_extension.ts";
import { decodeReloadReply, type StatusReply } from "../protocol/control_reply.ts";
import { askDaemon } from "./control_client.ts";
import type { Io } from "./io.ts";
import { askStatus } from "./status.ts";

/** What `hastctl reload` was asked for. */
export interface ReloadRequest {
  /** The configuration file, absolute. */
  configPath: string;
  dryRun: boolean;
}

/**
 * Reloads.
 *
 * @param config What the file means on this node, as far as the command line says which that is.
 * @param configOf What the file means on the node that the daemon was told to be.
 * @returns The exit code, 0.
 * @throws {HastError} The daemon cannot be asked or has refused: nothing has changed then.
 */
export async function reloadDaemon(
  config: Config,
  configOf: (nodeName: string | undefined) => Config,
  request: ReloadRequest,
  io: Io,
): Promise<number> {
  const before = await askStatus(config, [], true);
  const { daemon } = before;
  if (daemon === undefined) {
    const words = "This hastd cannot tell its configuration; send it SIGHUP to make it reload.";
    throw new HastError(EX.unavailable, words);
  }
  const wanted = configOf(daemon.nodeName);
  const plan = planReload(before.resources.map(currentResource), wanted.resources);
  if (request.dryRun) {
    io.stdout(report([...addressLines(daemon, wanted), ...plan.map(describePlan)]));
    return EX.ok;
  }
  const { configPath } = request;
  const after = await askDaemon(
    config.controlAddress,
    { command: "reload", configPath },
    decodeReloadReply,
  );
  const lines = after.resources.map(({ resource, action }) => {
    const known = plan.find(({ name }) => name === resource);
    return describe(resource, action, known);
  });
  io.stdout(report([...addressLines(daemon, wanted), ...lines]));
  return EX.ok;
}

function report(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

function addressLines(daemon: DaemonReply, wanted: Config): string[] {
  const lines: string[] = [];
  if (daemon.controlAddress !== wanted.controlAddress) {
    lines.push(`control: ${daemon.controlAddress} becomes ${wanted.controlAddress}`);
  }
  const before = new Set(daemon.listenAddresses);
  const after = new Set(wanted.listenAddresses);
  const kept = daemon.listenAddresses.some((address) => after.has(address));
  // Of the default addresses the daemon has only those that the kernel supports.
  const added = wanted.listenDefaulted && kept ? [] : after;
  for (const address of added) {
    if (!before.has(address)) lines.push(`listen: ${address} is added`);
  }
  for (const address of before) {
    if (!after.has(address)) lines.push(`listen: ${address} is removed`);
  }
  return lines;
}

function describePlan(plan: ResourcePlan): string {
  return describe(plan.name, plan.action, plan);
}

function describe(name: string, action: string, plan: ResourcePlan | undefined): string {
  const isPlanned = plan?.action === action;
  const changed = isPlanned && plan.changed.length > 0 ? ` (${plan.changed.join(", ")})` : "";
  return `${name}: ${words(action, isPlanned ? plan.role : undefined)}${changed}`;
}

function words(action: string, role: ResourcePlan["role"]): string {
  switch (action) {
    case "nothing":
      return "nothing";
    case "apply":
      return "applied at once";
    case "reconnect":
      return "applied at once, reconnect";
    case "restart":
      if (role === "primary") return "restart, its disk is gone for a moment";
      return role === "init" ? "applied at once" : "restart";
    case "add":
      return "added, in role init";
    case "remove":
      return role === "primary" ? "removed, its disk is gone" : "removed";
    default:
      return action;
  }
}

/** What a resource is now, from the status of the daemon. */
function currentResource(reply: StatusReply): CurrentResource {
  const { extension } = reply;
  if (extension === undefined) throw invalid(`nothing of ${reply.resource}`);
  const config: ResourceConfig = {
    name: reply.resource,
    providerName: reply.provname,
    providerNbd: extension.providerNbd,
    localPath: reply.localpath,
    remoteAddress: reply.remoteaddr,
    sourceAddress: reply.sourceaddr,
    replication: oneOf(["fullsync", "memsync", "async"], reply.replication),
    checksum: oneOf(["none", "crc32", "sha256"], reply.checksum),
    compression: oneOf(["none", "hole", "lzf"], reply.compression),
    timeoutSeconds: extension.timeoutSeconds,
    execPath: extension.execPath,
    metaflush: extension.metaflush,
    syncRateBytesPerSecond: extension.syncRateBytesPerSecond,
    secretPaths: extension.secretPaths,
  };
  return { config, role: oneOf(["init", "primary", "secondary"], reply.role) };
}

function oneOf<const T extends string>(known: readonly T[], text: string): T {
  const found = known.find((each) => each === text);
  if (found === undefined) throw invalid(`'${text}'`);
  return found;
}

function invalid(what: string): HastError {
  return new HastError(EX.software, `Invalid reply received from hastd: ${what}.`);
}
