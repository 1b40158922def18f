/**
 * The original answers a write that failed here and succeeded on the other node as done, and later
 * reads the old data here.
 *
 * Seen to fail, all three, with this planted: `RequestPath.#localFailed` takes nothing out of
 * service, `Settlement.#markLacking` marks nothing where the local part failed, and
 * `Settlement.#mayAcknowledgeChange` lets it pass.
 */
import { assertEquals } from "@std/assert";
import { firstDifference, RESOURCE } from "../support/cluster.ts";
import { FAULTY_NEEDS, withFaultyComponent } from "../support/faulty_cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { Random } from "../support/random.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { waitFor } from "../support/wait.ts";

const BLOCK_BYTES = 4096;
const EIO = 5;

for (const mode of ["fullsync", "memsync", "async"]) {
  testWith(
    FAULTY_NEEDS,
    `weakness 2: ${mode}: what could not be written here is read from the other node`,
    () =>
      withFaultyComponent(
        { resourceLines: [`replication ${mode}`] },
        { node: "a", operation: "pwrite" },
        async (cluster, component) => {
          const { a, b } = cluster;
          const random = new Random(2);
          const before = random.bytes(2 * BLOCK_BYTES);
          const after = random.bytes(BLOCK_BYTES);
          await cluster.startPair();
          await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
          await client.write(0, before);
          component.setFailing(true);
          await client.write(0, after);
          const both = new Uint8Array([...after, ...before.subarray(BLOCK_BYTES)]);
          assertEquals(await client.read(0, both.length), both, "the new data is read");
          const { localComponent } = await statusOf(a);
          assertEquals([localComponent?.state, localComponent?.errno], ["out-of-service", EIO]);

          component.setFailing(false);
          await a.hastctlOk("attach", RESOURCE);
          await waitFor("the component serves again", async () => {
            return (await statusOf(a)).localComponent?.state === "in-service";
          });
          await waitInSync(a);
          await b.stop();
          assertEquals(await client.read(0, both.length), both, "from this node alone");
          const data = await Promise.all([a.readData(), b.readData()]);
          assertEquals(firstDifference(...data), -1, "both components hold the same");
        },
      ),
  );
}
