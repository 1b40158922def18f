// Declarations for the part of @std/cli that this project uses.
export interface ParseOptions {
  "--"?: boolean;
  alias?: Record<string, string | string[]>;
  boolean?: boolean | string | readonly string[];
  collect?: string | readonly string[];
  default?: Record<string, unknown>;
  negatable?: string | readonly string[];
  stopEarly?: boolean;
  string?: string | readonly string[];
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}
/** Parsed arguments: positional ones in `_`, options by their names. */
export interface Args {
  _: (string | number)[];
  "--"?: string[];
  [option: string]: unknown;
}
export function parseArgs(args: readonly string[], options?: ParseOptions): Args;
