/**
 * `hastctl list`: all that the daemon tells of a resource. Scripts parse it.
 *
 * Source: hastctl(8); control.md, hastctl.
 * @module
 */
import { humanize } from "../base/units.ts";
import type { Config } from "../conf/config.ts";
import { NO_FIGURES, type StatusReply, type WorkerFigures } from "../protocol/control_reply.ts";
import type { Io } from "./io.ts";
import { askStatus, firstError } from "./status.ts";

/**
 * Prints the list.
 *
 * @param names As on the command line: none, or `all` as the first, means every resource.
 * @returns The exit code: 0, or the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked.
 */
export async function printList(
  config: Config,
  names: readonly string[],
  io: Io,
): Promise<number> {
  const replies = (await askStatus(config, names)).resources;
  io.stdout(replies.map(listing).join(""));
  return firstError(replies);
}

function listing(reply: StatusReply): string {
  const heading = `${reply.resource}:\n`;
  if (reply.error !== 0) return `${heading}  error: ${reply.error}\n`;
  const figures = reply.worker?.figures ?? NO_FIGURES;
  const lines = [...settings(reply, figures), ...statistics(figures)];
  return heading + lines.map((line) => `  ${line}\n`).join("");
}

function settings(reply: StatusReply, figures: Readonly<WorkerFigures>): string[] {
  return [
    `role: ${reply.role}`,
    `provname: ${reply.provname}`,
    `localpath: ${reply.localpath}`,
    `extentsize: ${figures.extentSizeBytes} (${humanize(figures.extentSizeBytes)})`,
    `keepdirty: ${figures.keepdirtyCount}`,
    `remoteaddr: ${reply.remoteaddr}`,
    ...(reply.sourceaddr === undefined ? [] : [`sourceaddr: ${reply.sourceaddr}`]),
    `replication: ${reply.replication}`,
    ...(reply.worker === undefined ? [] : [`status: ${reply.worker.status}`]),
    ...(reply.workerpid === 0 ? [] : [`workerpid: ${reply.workerpid}`]),
    `dirty: ${figures.dirtyBytes} (${humanize(figures.dirtyBytes)})`,
  ];
}

function statistics(figures: Readonly<WorkerFigures>): string[] {
  const errors = `read: ${figures.readErrors}, write: ${figures.writeErrors}, ` +
    `delete: ${figures.deleteErrors}, flush: ${figures.flushErrors}`;
  const queues = `local: ${figures.localQueue}, send: ${figures.sendQueue}, ` +
    `recv: ${figures.recvQueue}, done: ${figures.doneQueue}, idle: ${figures.idleQueue}`;
  return [
    "statistics:",
    `  reads: ${figures.reads}`,
    `  writes: ${figures.writes}`,
    `  deletes: ${figures.deletes}`,
    `  flushes: ${figures.flushes}`,
    `  activemap updates: ${figures.activemapUpdates}`,
    `  local errors: ${errors}`,
    `  queues: ${queues}`,
  ];
}
