/**
 * From the path of a configuration file to the configuration of this node. How a file is read is
 * the caller's: this is pure.
 *
 * Source: hastd(8), -c; conf.md.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import { systemErrorText } from "../base/system_error.ts";
import type { ConfigFile } from "./ast.ts";
import type { Config } from "./config.ts";
import type { NodeIdentity } from "./node_identity.ts";
import { parseConf } from "./parser.ts";
import { resolveConfig } from "./resolve.ts";
import { parseToml } from "./toml.ts";

/** Gives the text of a file or throws: `Deno.readTextFileSync`. */
export type ReadTextFile = (path: string) => string;

/** Whether a file of this name is TOML: by its ending alone, `.toml` in either case. */
export function isTomlPath(path: string): boolean {
  return /\.toml$/i.test(path);
}

/**
 * Reads a configuration, in the syntax that the ending of its name says, for all nodes.
 *
 * @throws {HastError} Exit code 72: the file cannot be read.
 * @throws {ConfigError} Exit code 78: its content is wrong.
 */
export function loadConfigFile(path: string, readTextFile: ReadTextFile): ConfigFile {
  const text = readOrFail(path, readTextFile);
  return isTomlPath(path) ? parseToml(text, path) : parseConf(text, path);
}

/**
 * Reads the configuration of one node.
 *
 * @throws {HastError} Exit code 72: the file cannot be read.
 * @throws {ConfigError} Exit code 78: its content is wrong, or not enough for this node.
 */
export function loadConfig(
  path: string,
  readTextFile: ReadTextFile,
  identity: NodeIdentity,
): Config {
  return resolveConfig(loadConfigFile(path, readTextFile), identity);
}

function readOrFail(path: string, readTextFile: ReadTextFile): string {
  try {
    return readTextFile(path);
  } catch (thrown) {
    const words = `Unable to open configuration file ${path}: ${systemErrorText(thrown)}.`;
    throw new HastError(EX.osFile, words, { cause: thrown });
  }
}
