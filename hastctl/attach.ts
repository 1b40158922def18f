/**
 * `hastctl attach`: brings local components back that were taken out of service.
 *
 * Source: docs/hastctl.8; docs/control_protocol.md.
 * @module
 */
import { strerror } from "../base/errno.ts";
import type { Config } from "../conf/config.ts";
import { type AttachReply, decodeAttachReply } from "../protocol/control_reply.ts";
import { CONTROL_ERROR } from "../protocol/control_request.ts";
import { askDaemon } from "./control_client.ts";
import { type Io, logOn } from "./io.ts";

/**
 * Brings components back, each whatever became of the others, and says what was done.
 *
 * @param names As on the command line; a first name `all` means every resource.
 * @returns The exit code: 0, or the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked, or does not know the command.
 */
export async function attachComponents(
  config: Config,
  { names }: { names: readonly string[] },
  io: Io,
): Promise<number> {
  const request = { command: "attach", resources: names } as const;
  const { resources } = await askDaemon(config.controlAddress, request, decodeAttachReply);
  for (const reply of resources) report(reply, io);
  return resources.find(({ error }) => error !== 0)?.error ?? 0;
}

function report(reply: AttachReply, io: Io): void {
  const log = logOn(io, 0, `[${reply.resource}] `);
  switch (reply.error) {
    case 0:
      return io.stdout(
        `${reply.resource}: ${reply.wasOutOfService ? "back in service" : "was in service"}\n`,
      );
    case CONTROL_ERROR.unavailable:
      return log.error("No worker process that could do it.");
    case CONTROL_ERROR.ioError:
      return log.error(`Unable to bring the local component back: ${strerror(reply.errno)}.`);
    default:
      return log.warning(`Received error ${reply.error} from hastd.`);
  }
}
