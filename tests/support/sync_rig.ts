/**
 * A primary with something to synchronise, and a secondary played by the test to do it with.
 * @module
 */
import { type Cluster, RESOURCE, withCluster } from "./cluster.ts";
import type { Fields } from "./hast_wire.ts";
import { NbdClient } from "./nbd_client.ts";
import { type Acceptance, accepting, RecordingSecondary } from "./recording_secondary.ts";

/** Writes to node a while it is alone, then gives it a role in which it dials at once. */
async function writeAlone({ a }: Cluster, data: Uint8Array): Promise<void> {
  await a.start();
  await a.role("primary");
  {
    await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
    for (let at = 0; at < data.length; at += 1 << 20) {
      await client.write(at, data.subarray(at, at + (1 << 20)));
    }
    await client.flush();
  }
  await a.role("init");
}

/**
 * Node a has `data`, written alone; then it becomes primary beside a secondary that accepts it as
 * `acceptance` says.
 */
export async function withStaleSecondary(
  data: Uint8Array,
  acceptance: (hello: Fields) => Acceptance,
  test: (cluster: Cluster, secondary: RecordingSecondary) => Promise<void>,
): Promise<void> {
  await withCluster({}, async (cluster) => {
    const { a, b } = cluster;
    await writeAlone(cluster, data);
    await using secondary = new RecordingSecondary(b, (hello) => accepting(a, acceptance(hello)));
    await a.role("primary");
    await test(cluster, secondary);
  });
}

/**
 * Node a was never written to; the secondary says that it has newer data, in all extents of a
 * component like a's.
 */
export async function withStalePrimary(
  test: (cluster: Cluster, secondary: RecordingSecondary) => Promise<void>,
): Promise<void> {
  await withCluster({ componentBytes: 16 << 20 }, async (cluster) => {
    const { a, b } = cluster;
    await a.start();
    const { offsetBytes } = await a.layout();
    const map = new Uint8Array(offsetBytes - 4096).fill(0xff);
    await using secondary = new RecordingSecondary(b, (hello) =>
      accepting(a, {
        virgin: false,
        localcnt: 9,
        remotecnt: BigInt(hello.get("localcnt")?.toString() ?? 0),
        syncsrc: "secondary",
        map,
      }));
    await a.role("primary");
    await test(cluster, secondary);
  });
}
