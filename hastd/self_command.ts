/**
 * How this program starts itself again: from source by `deno run`, compiled by its own file.
 * @module
 */

/** A program and its arguments, for `Deno.Command`. */
export interface SelfCommand {
  path: string;
  args: string[];
}

/**
 * What starts this very program with `args` (the arguments it sees in `Deno.args`).
 *
 * From source, the child gets all permissions, as this program needs, and takes nothing from
 * registries that is not cached already: this process runs, so all of it is.
 */
export function selfCommand(args: readonly string[]): SelfCommand {
  if (Deno.build.standalone) return { path: Deno.execPath(), args: [...args] };
  const flags = ["run", "--quiet", "--allow-all", "--cached-only"];
  return { path: Deno.execPath(), args: [...flags, Deno.mainModule, ...args] };
}
