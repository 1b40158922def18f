/**
 * `hastctl dump`: prints the metadata of components, without a daemon.
 *
 * Source: hastctl(8); control.md, hastctl; disk.md.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { humanize } from "../base/units.ts";
import type { Config, ResourceConfig } from "../conf/config.ts";
import { closeComponent, openComponent } from "../ffi/block_device.ts";
import type { Metadata } from "../protocol/metadata.ts";
import { readMetadata } from "./component.ts";
import { reportUnknown } from "./create.ts";
import { type Io, logOn } from "./io.ts";

/** The original's answer to whatever keeps it from reading metadata: -1. */
const EXIT_UNREADABLE = 255;

/** What `hastctl dump` was asked for. */
export interface DumpRequest {
  /** None, or `all` as the first, means every resource. */
  names: readonly string[];
  debugLevel: number;
}

/**
 * Prints metadata, each whatever became of the others; says on `io` what went wrong.
 *
 * @returns The exit code: 0, or that of the first failure.
 */
export function dumpComponents(config: Config, request: DumpRequest, io: Io): number {
  const log = logOn(io, request.debugLevel);
  let exitCode: number = EX.ok;
  for (const name of namesOf(config, request)) {
    const resource = config.resources.find((known) => known.name === name);
    const failure = resource === undefined ? reportUnknown(name, io) : dumpOne(resource, io, log);
    exitCode ||= failure;
  }
  return exitCode;
}

function namesOf(config: Config, { names }: DumpRequest): readonly string[] {
  const wantsAll = names.length === 0 || names[0] === "all";
  return wantsAll ? config.resources.map(({ name }) => name) : names;
}

function dumpOne({ name, localPath }: ResourceConfig, io: Io, log: Log): number {
  try {
    const component = openComponent(localPath, { readOnly: true });
    try {
      log.debug(1, `Obtained info about ${localPath}.`);
      io.stdout(describe(readMetadata(component, name)));
    } finally {
      closeComponent(component);
    }
    return EX.ok;
  } catch (thrown) {
    if (!(thrown instanceof HastError)) throw thrown;
    log.error(thrown.message);
    return EXIT_UNREADABLE;
  }
}

function describe(metadata: Metadata): string {
  const { datasizeBytes, extentsizeBytes } = metadata;
  const lines = [
    `datasize: ${datasizeBytes} (${humanize(datasizeBytes)})`,
    `extentsize: ${extentsizeBytes} (${humanize(extentsizeBytes)})`,
    `keepdirty: ${metadata.keepdirtyCount | 0}`, // Signed: "no limit" reads as -1.
    `localoff: ${metadata.dataOffsetBytes}`,
    `resuid: ${metadata.resuid}`,
    `localcnt: ${metadata.localcnt}`,
    `remotecnt: ${metadata.remotecnt}`,
    `prevrole: ${metadata.prevrole}`,
  ];
  return `resource: ${metadata.resource}\n` + lines.map((line) => `    ${line}\n`).join("");
}
