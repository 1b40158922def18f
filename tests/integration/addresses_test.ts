/**
 * Nodes that reach each other, and clients, over every kind of address, configured by a hast.toml
 * that `hastctl config --toml` has written.
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Cluster, Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { testWith } from "../support/needs.ts";
import { runOk } from "../support/process.ts";
import { Random } from "../support/random.ts";

const IMAGE_BYTES = 5 * 1024 * 1024;

/** A port of an address that nobody listens on at this moment. */
function freePort(hostname: string): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

/** What stands in the configuration for an address of a node of the cluster. */
interface Addresses {
  replication: (node: Node) => string;
  provider: string;
}

/** The same nodes, with other addresses, and a hast.toml. */
async function readdressed({ a, b, folder }: Cluster, addresses: Addresses): Promise<[Node, Node]> {
  let text = await Deno.readTextFile(a.configPath);
  for (const node of [a, b]) {
    text = text.replaceAll(`${node.address}:${node.port}`, addresses.replication(node));
  }
  text = text.replace(/(resource .*\n)/, `$1  #+ provider nbd ${addresses.provider}\n`);
  await Deno.writeTextFile(a.configPath, text);
  const toml = `${folder}/hast.toml`;
  await Deno.writeTextFile(toml, await a.hastctlOk("config", "--toml"));
  const again = (node: Node) => new Node(node.name, node.address, node.port, folder, toml);
  return [again(a), again(b)];
}

/** Copies an image in through the TCP provider, changes roles, and reads it back there. */
async function replicates(cluster: Cluster, addresses: Addresses): Promise<void> {
  const [a, b] = await readdressed(cluster, addresses);
  const image = `${cluster.folder}/image`;
  await Deno.writeFile(image, new Random(7).bytes(IMAGE_BYTES));
  const uri = `nbd://${addresses.provider}/${RESOURCE}`;
  try {
    await Promise.all([a.start(), b.start()]);
    await b.role("secondary");
    await a.role("primary");
    await a.waitComplete();
    assertStringIncludes(a.log(), `Listening on address ${addresses.replication(a)}.`);
    assertEquals((await a.list()).get("remoteaddr"), addresses.replication(b));
    await runOk("nbdcopy", "--flush", image, uri);
    await cluster.waitSameData();
    await a.role("secondary");
    await b.role("primary");
    await b.waitComplete();
    await runOk("nbdcopy", uri, `${image}.back`);
    const back = (await Deno.readFile(`${image}.back`)).subarray(0, IMAGE_BYTES);
    assertEquals(back, await Deno.readFile(image));
  } finally {
    for (const node of [a, b]) await node.destroy();
  }
}

testWith(
  ["ipv6", "program nbdcopy"],
  "nodes and an NBD client over IPv6, from hast.toml",
  () =>
    withCluster({}, async (cluster) => {
      const ports = new Map(cluster.nodes.map((node) => [node.name, freePort("::1")]));
      await replicates(cluster, {
        replication: ({ name }) => `[::1]:${ports.get(name)}`,
        provider: `[::1]:${freePort("::1")}`,
      });
    }),
);

testWith(
  ["program nbdcopy"],
  "nodes over Unix sockets and an NBD client over TCP, from hast.toml",
  () =>
    withCluster({}, (cluster) =>
      replicates(cluster, {
        replication: ({ name, folder }) => `unix://${folder}/${name}.sock`,
        provider: `127.0.0.1:${freePort("127.0.0.1")}`,
      })),
);
