/**
 * `hastctl stop`: ends the daemon.
 *
 * Source: docs/hastctl.8; docs/control_protocol.md.
 * @module
 */
import { EX } from "../base/errors.ts";
import type { Config } from "../conf/config.ts";
import { decodePlainReply } from "../protocol/control_reply.ts";
import { askDaemon } from "./control_client.ts";
import { type Io, logOn } from "./io.ts";

/**
 * Ends the daemon. Settles when its workers have ended, its sockets are gone and its pidfile is
 * free; a daemon that closes the connection sooner is not waited for.
 *
 * @returns The exit code, 0.
 * @throws {HastError} The daemon cannot be asked, or does not know the command.
 */
export async function stopDaemon(
  config: Config,
  { debugLevel }: { debugLevel: number },
  io: Io,
): Promise<number> {
  const { controlAddress } = config;
  const options = { untilClosed: true };
  const { daemon } = await askDaemon(
    controlAddress,
    { command: "stop" },
    decodePlainReply,
    options,
  );
  const which = daemon === undefined ? "hastd" : `hastd (pid ${daemon.pid})`;
  logOn(io, debugLevel).debug(1, `${which} has ended.`);
  return EX.ok;
}
