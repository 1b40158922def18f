/**
 * SIGHUP: what a changed configuration does to a running daemon. All that may fail is done first,
 * so that a configuration is taken over as a whole or not at all.
 *
 * Source: control.md, Reload; cli.json has the log lines.
 * @module
 */
import type { Log } from "../base/log.ts";
import type { Config, ResourceConfig } from "../conf/config.ts";
import type { ReloadReply } from "../protocol/control_reply.ts";
import { type ControlDesk, ControlServer } from "./control_server.ts";
import type { Listener } from "./listener.ts";
import type { Supervisor } from "./supervisor.ts";

/** The parts of a daemon that a configuration shapes. */
export interface Reloadable {
  config: Config;
  readonly log: Log;
  readonly supervisor: Supervisor;
  readonly listener: Listener;
  readonly desk: ControlDesk;
  control: ControlServer;
}

/**
 * Takes over `next`.
 *
 * @returns What was done with each resource.
 * @throws {HastError} An address cannot be opened; nothing has changed then.
 */
export async function takeOver(daemon: Reloadable, next: Config): Promise<ReloadReply[]> {
  const control = await openSockets(daemon, next);
  if (control !== undefined) {
    const [before, after] = [daemon.control.address, control.address];
    daemon.log.info(`Control socket changed from ${before} to ${after}.`);
    daemon.control.retire(); // Whoever asked for this still waits for the answer.
    daemon.control = control;
    void control.serve();
  }
  daemon.config = next;
  return await changeResources(daemon, next.resources);
}

/** Opens what is new, then closes what is gone. Returns the new control server, if there is one. */
async function openSockets(daemon: Reloadable, next: Config): Promise<ControlServer | undefined> {
  const { listener, desk, log } = daemon;
  const before = new Set(listener.addresses);
  const wanted = new Set(next.listenAddresses);
  const added = [...wanted].filter((address) => !before.has(address));
  const control = next.controlAddress === daemon.control.address
    ? undefined
    : await ControlServer.open(next.controlAddress, desk, log);
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
): Promise<ReloadReply[]> {
  const names = wanted.map(({ name }) => name);
  const replies: ReloadReply[] = [];
  for (const resource of supervisor.resources) {
    if (names.includes(resource.name)) continue;
    await supervisor.remove(resource);
    log.info(`Resource ${resource.name} removed.`);
    replies.push({ resource: resource.name, error: 0, action: "remove" });
  }
  // All at once: a worker that is slow to end does not hold up the other resources.
  replies.push(...await Promise.all(wanted.map((config) => takeIn(supervisor, log, config))));
  supervisor.sort(names);
  return replies;
}

async function takeIn(
  supervisor: Supervisor,
  log: Log,
  config: ResourceConfig,
): Promise<ReloadReply> {
  const resource = supervisor.find(config.name);
  if (resource !== undefined) {
    return { resource: config.name, error: 0, action: await resource.takeOver(config) };
  }
  supervisor.add(config);
  log.info(`Resource ${config.name} added.`);
  return { resource: config.name, error: 0, action: "add" };
}
