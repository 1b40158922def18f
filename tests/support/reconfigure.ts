/**
 * Changes of a running cluster's configuration.
 * @module
 */
import type { Cluster, Node } from "./cluster.ts";

/** Replaces one piece of the file, which must be there, and has `node` read it again. */
export async function reconfigure(
  { folder }: Cluster,
  node: Node,
  [before, after]: [before: string, after: string],
): Promise<void> {
  const path = `${folder}/hast.conf`;
  const text = await Deno.readTextFile(path);
  if (!text.includes(before)) throw new Error(`${path} has no '${before}'`);
  await Deno.writeTextFile(path, text.replace(before, after));
  await node.hastctlOk("reload");
}
