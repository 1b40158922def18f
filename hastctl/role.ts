/**
 * `hastctl role`: sets the role of resources.
 *
 * Source: hastctl(8); control.md, control socket.
 * @module
 */
import type { Config } from "../conf/config.ts";
import { decodeRoleReply } from "../protocol/control_reply.ts";
import type { ControlRole } from "../protocol/control_request.ts";
import { askDaemon } from "./control_client.ts";
import { type Io, logOn } from "./io.ts";

/** What `hastctl role` was asked for. */
export interface RoleRequest {
  role: ControlRole;
  /** As on the command line; a first name `all` means every resource. */
  names: readonly string[];
  debugLevel: number;
}

/**
 * Sets a role.
 *
 * @returns The exit code: 0, or the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked.
 */
export async function setRole(config: Config, request: RoleRequest, io: Io): Promise<number> {
  const { role, names, debugLevel } = request;
  const { resources } = await askDaemon(
    config.controlAddress,
    { command: "role", role, resources: names },
    decodeRoleReply,
  );
  let exitCode = 0;
  for (const { resource, error, previousRole } of resources) {
    const log = logOn(io, debugLevel, `[${resource}] `);
    if (error !== 0) {
      log.warning(`Received error ${error} from hastd.`);
      exitCode ||= error;
    } else if (previousRole === role) log.debug(2, `Role unchanged (${role}).`);
    else log.debug(1, `Role changed from ${previousRole} to ${role}.`);
  }
  return exitCode;
}
