/**
 * `hastctl create`: initialises the local component of resources.
 *
 * Source: hastctl(8); disk.md.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import type { Config, ResourceConfig } from "../conf/config.ts";
import { closeComponent, openComponent } from "../ffi/block_device.ts";
import { type ComponentWishes, initialiseComponent } from "./component.ts";
import { type Io, logOn } from "./io.ts";

/** What `hastctl create` was asked for. */
export interface CreateRequest extends ComponentWishes {
  /** `all` is a name like any other: nobody is to create everything by chance. */
  names: readonly string[];
}

/**
 * Initialises components, each whatever became of the others; says on `io` what went wrong.
 *
 * @returns The exit code: 0, or that of the first failure.
 */
export function createComponents(config: Config, request: CreateRequest, io: Io): number {
  let exitCode: number = EX.ok;
  for (const name of request.names) {
    const resource = config.resources.find((known) => known.name === name);
    const failure = resource === undefined
      ? reportUnknown(name, io)
      : createOne(resource, request, io);
    exitCode ||= failure;
  }
  return exitCode;
}

/** Reports a name that the configuration does not have; returns the exit code for it. */
export function reportUnknown(name: string, io: Io): number {
  logOn(io, 0).error(`Unknown resource ${name}.`);
  return EX.dataErr;
}

function createOne({ name, localPath }: ResourceConfig, wishes: ComponentWishes, io: Io): number {
  // No debug messages: the original has none here, whatever -d says.
  const log = logOn(io, 0, `[${name}] `);
  try {
    const component = openComponent(localPath, { log });
    try {
      initialiseComponent(component, name, wishes);
    } finally {
      closeComponent(component);
    }
    return EX.ok;
  } catch (thrown) {
    if (!(thrown instanceof HastError)) throw thrown;
    log.error(thrown.message);
    return thrown.exitCode;
  }
}
