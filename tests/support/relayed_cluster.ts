/**
 * Two nodes whose connections go through relays, so that a test can hold them up and cut them.
 * @module
 */
import { type Cluster, type ClusterOptions, withCluster } from "./cluster.ts";
import { Relay } from "./relay.ts";

/** Named after the node that is dialed: `b` is in use while node a is the primary. */
export interface Relays {
  a: Relay;
  b: Relay;
}

/** {@link withCluster}, but each node dials the relay of the other one. */
export async function withRelayedCluster(
  options: ClusterOptions,
  test: (cluster: Cluster, relays: Relays) => Promise<void>,
): Promise<void> {
  await withCluster(options, async (cluster) => {
    const relayTo = ({ address, port }: { address: string; port: number }) =>
      new Relay({ hostname: address, port });
    await using a = relayTo(cluster.a);
    await using b = relayTo(cluster.b);
    let text = await Deno.readTextFile(cluster.a.configPath);
    for (const [node, relay] of [[cluster.a, a], [cluster.b, b]] as const) {
      text = text.replace(
        `remote ${node.address}:${node.port}\n`,
        `remote 127.0.0.1:${relay.port}\n`,
      );
    }
    await Deno.writeTextFile(cluster.a.configPath, text);
    await test(cluster, { a, b });
  });
}
