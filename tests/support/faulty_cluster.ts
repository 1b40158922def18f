/**
 * Two nodes of which one has a component that fails on demand.
 * @module
 */
import { Component } from "../chaos/component.ts";
import { type Cluster, type ClusterOptions, withCluster } from "./cluster.ts";
import type { Need } from "./needs.ts";

/** What {@link withFaultyComponent} needs of the machine. */
export const FAULTY_NEEDS: Need[] = [
  "root",
  "linux",
  "fuse",
  "program nbdkit",
  "program nbdfuse",
  "program fusermount3",
];

/** Which calls of which node fail. */
export interface FaultySide {
  node: "a" | "b";
  operation: "pread" | "pwrite";
}

/** {@link withCluster}; the daemons are ended before the component goes. */
export async function withFaultyComponent(
  options: ClusterOptions,
  { node: name, operation }: FaultySide,
  test: (cluster: Cluster, component: Component) => Promise<void>,
): Promise<void> {
  await withCluster(options, async (cluster) => {
    const { componentPath, configPath } = cluster[name];
    const side = name === "a" ? 0 : 1;
    await using component = await Component.create(componentPath, {
      kind: "failing",
      side,
      operation,
      ratePercent: 100,
    });
    const text = await Deno.readTextFile(configPath);
    const wanted = text.replace(`local ${componentPath}\n`, `local ${component.path}\n`);
    await Deno.writeTextFile(configPath, wanted);
    try {
      await test(cluster, component);
    } catch (error) {
      // Said now: with the daemons the reason may be gone.
      throw new Error(`The test failed\n${cluster.logs()}`, { cause: error });
    } finally {
      for (const node of cluster.nodes) await node.destroy();
    }
  });
}
