/**
 * SIGHUP: what a changed configuration does to a running daemon. All that may fail is done first,
 * so that a configuration is taken over as a whole or not at all.
 *
 * Source: control.md, Reload; cli.json has the log lines.
 * @module
 */
import type { Log } from "../base/log.ts";
import type { Config, ResourceConfig } from "../conf/config.ts";
import { ControlServer } from "./control_server.ts";
import type { Listener } from "./listener.ts";
import type { Resource } from "./resource.ts";
import type { Supervisor } from "./supervisor.ts";

/** The parts of a daemon that a configuration shapes. */
export interface Reloadable {
  config: Config;
  readonly log: Log;
  readonly supervisor: Supervisor;
  readonly listener: Listener;
  control: ControlServer;
}

/**
 * Takes over `next`.
 *
 * @throws {HastError} An address cannot be opened; nothing has changed then.
 */
export async function takeOver(daemon: Reloadable, next: Config): Promise<void> {
  const control = await openSockets(daemon, next);
  if (control !== undefined) {
    const [before, after] = [daemon.control.address, control.address];
    daemon.log.info(`Control socket changed from ${before} to ${after}.`);
    daemon.control.close();
    daemon.control = control;
    void control.serve();
  }
  daemon.config = next;
  await changeResources(daemon, next.resources);
}

/** Opens what is new, then closes what is gone. Returns the new control server, if there is one. */
async function openSockets(daemon: Reloadable, next: Config): Promise<ControlServer | undefined> {
  const { listener, supervisor, log } = daemon;
  const before = new Set(listener.addresses);
  const wanted = new Set(next.listenAddresses);
  const added = [...wanted].filter((address) => !before.has(address));
  const control = next.controlAddress === daemon.control.address
    ? undefined
    : await ControlServer.open(next.controlAddress, supervisor, log);
  try {
    await listener.open(added, next.listenDefaulted);
  } catch (error) {
    control?.close();
    throw error;
  }
  const opened = new Set(listener.addresses);
  for (const address of wanted) {
    if (before.has(address)) log.info(`Keep listening on address ${address}.`);
    else if (opened.has(address)) log.info(`Listening on new address ${address}.`);
  }
  for (const address of before) {
    if (wanted.has(address)) continue;
    listener.closeAddress(address);
    log.info(`No longer listening on address ${address}.`);
  }
  return control;
}

async function changeResources(
  { supervisor, log }: Reloadable,
  wanted: readonly ResourceConfig[],
): Promise<void> {
  const byName = new Map(wanted.map((config) => [config.name, config]));
  for (const resource of supervisor.resources) {
    if (byName.has(resource.name)) continue;
    await supervisor.remove(resource);
    log.info(`Resource ${resource.name} removed.`);
  }
  const changed: [Resource, ResourceConfig][] = [];
  for (const config of wanted) {
    const resource = supervisor.find(config.name);
    if (resource === undefined) {
      supervisor.add(config);
      log.info(`Resource ${config.name} added.`);
    } else if (!sameConfig(resource.config, config)) changed.push([resource, config]);
  }
  await Promise.all(changed.map(([resource, config]) => changeResource(log, resource, config)));
  supervisor.sort(wanted.map(({ name }) => name));
}

async function changeResource(log: Log, resource: Resource, next: ResourceConfig): Promise<void> {
  const action = needsRestart(resource, next) ? "restarting" : "reloading";
  log.info(`Resource ${next.name} configuration was modified, ${action} it.`);
  if (action === "restarting") await resource.restart(next);
  else await resource.reload(next);
}

/** The disk of a primary stays, unless it would be another disk. */
function needsRestart({ role, config }: Resource, next: ResourceConfig): boolean {
  return role !== "primary" || config.providerName !== next.providerName ||
    config.localPath !== next.localPath;
}

function sameConfig(left: ResourceConfig, right: ResourceConfig): boolean {
  const names = new Set([...Object.keys(left), ...Object.keys(right)]);
  const [a, b]: Record<string, unknown>[] = [{ ...left }, { ...right }];
  return [...names].every((name) => a?.[name] === b?.[name]);
}
