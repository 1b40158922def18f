/**
 * `hastctl config`: checks the configuration as hastd would and prints what is in force.
 *
 * Source: docs/hastctl.8; conf.md.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import { systemErrorText } from "../base/system_error.ts";
import { loadConfig, loadConfigFile } from "../conf/load.ts";
import type { NodeIdentity } from "../conf/node_identity.ts";
import { renderConf, renderToml } from "../conf/render.ts";
import type { Io } from "./io.ts";

/** What `hastctl config` was asked for. */
export interface ConfigRequest {
  configPath: string;
  /** Convert the whole file, all nodes, instead of showing what applies here. */
  toml: boolean;
}

/**
 * Prints the effective configuration of this node, or the file as TOML.
 *
 * @throws {HastError} What hastd would refuse to start with, same message, same exit code.
 */
export function printConfig(request: ConfigRequest, identity: NodeIdentity, io: Io): number {
  const path = fullPathOf(request.configPath);
  const config = loadConfig(path, Deno.readTextFileSync, identity);
  const file = request.toml ? loadConfigFile(path, Deno.readTextFileSync) : undefined;
  io.stdout(file === undefined ? renderConf(config, identity) : renderToml(file));
  return EX.ok;
}

/**
 * The path as hastd makes it absolute, because it leaves the folder it was started in.
 *
 * @throws {HastError} Exit code 78: there is no such file.
 */
export function fullPathOf(path: string): string {
  if (path.startsWith("/")) return path;
  try {
    return Deno.realPathSync(path);
  } catch (thrown) {
    const reason = systemErrorText(thrown);
    throw new HastError(EX.config, `Unable to obtain full path of ${path}: ${reason}.`);
  }
}
