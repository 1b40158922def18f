/** Each replication mode under a random load: reads right, both components equal to the model. */
import { assertEquals } from "@std/assert";
import { type Cluster, firstDifference, RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random, testSeed } from "../support/random.ts";
import { Model } from "../support/workload.ts";

const WORKLOAD = { operationCount: 10_000, queueDepth: 32, requestBytesMax: 1024 * 1024 };

async function runModel(cluster: Cluster, seed: number): Promise<void> {
  await cluster.startPair();
  const model = await (async () => {
    await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
    const { dataBytes } = await cluster.a.layout();
    assertEquals(client.sizeBytes, dataBytes, "the export is as large as the data area");
    const model = new Model(client, new Random(seed), new Uint8Array(dataBytes));
    await model.run(WORKLOAD);
    await client.flush();
    return model;
  })();
  const data = await cluster.waitSameData();
  assertEquals(firstDifference(data, model.bytes), -1, "the components hold what was written");
}

async function withSeed(run: (seed: number) => Promise<void>): Promise<void> {
  const seed = testSeed();
  try {
    await run(seed);
  } catch (error) {
    throw new Error(`Repeat with HAST_TEST_SEED=${seed}`, { cause: error });
  }
}

for (const mode of ["fullsync", "memsync", "async"]) {
  Deno.test(`${mode}: 10,000 random requests at depth 32, both components as the model`, () =>
    withSeed((seed) =>
      withCluster(
        { resourceLines: [`replication ${mode}`] },
        (cluster) => runModel(cluster, seed),
      )
    ));
}

for (const lines of [["checksum crc32", "compression lzf"], ["checksum sha256"]]) {
  Deno.test(`${lines.join(", ")}: 10,000 random requests, both components as the model`, () =>
    withSeed((seed) =>
      withCluster({ resourceLines: lines }, (cluster) => runModel(cluster, seed))
    ));
}

Deno.test("fullsync with a secret: 10,000 random requests, both components as the model", () =>
  withSeed((seed) => {
    const secret = "a secret of both nodes, for this test only";
    return withCluster(
      { secrets: [secret, secret], resourceLines: ["replication fullsync"] },
      (cluster) => runModel(cluster, seed),
    );
  }));
