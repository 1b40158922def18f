/**
 * `hastctl status`: one line per resource. Scripts parse it.
 *
 * Source: hastctl(8); control.md, hastctl.
 * @module
 */
import type { Config } from "../conf/config.ts";
import {
  type ControlReply,
  decodeStatusReply,
  type StatusReply,
} from "../protocol/control_reply.ts";
import { askDaemon } from "./control_client.ts";
import type { Io } from "./io.ts";

const HEADING = "Name\tStatus\t Role\t\tComponents\n";
const STATUS_WIDTH = 9;
const ROLE_WIDTH = 15;

/**
 * Prints the status.
 *
 * @param names As on the command line: none, or `all` as the first, means every resource.
 * @returns The exit code: 0, or the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked.
 */
export async function printStatus(
  config: Config,
  names: readonly string[],
  io: Io,
): Promise<number> {
  const replies = (await askStatus(config, names)).resources;
  io.stdout(HEADING + replies.map(statusLine).join(""));
  return firstError(replies);
}

/**
 * Asks for the status of `names`, or of all resources where there is none.
 *
 * @param extended Ask for what this implementation adds, too.
 */
export function askStatus(
  config: Config,
  names: readonly string[],
  extended = false,
): Promise<ControlReply<StatusReply>> {
  const resources = names.length === 0 ? "all" : names;
  const request = { command: "status", extended, resources } as const;
  return askDaemon(config.controlAddress, request, decodeStatusReply);
}

/** The first error number of a resource, 0 if there is none. */
export function firstError(replies: readonly StatusReply[]): number {
  return replies.find(({ error }) => error !== 0)?.error ?? 0;
}

function statusLine(reply: StatusReply): string {
  if (reply.error !== 0) return `${reply.resource}\tERR${reply.error}\n`;
  const status = (reply.worker?.status ?? "-").padEnd(STATUS_WIDTH);
  const role = reply.role.padEnd(ROLE_WIDTH);
  return `${reply.resource}\t${status}${role}${reply.localpath}\t${reply.remoteaddr}\n`;
}
