/** When a write is acknowledged, seen from outside: the other node's worker is stopped meanwhile. */
import { assert, assertEquals } from "@std/assert";
import { RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { within } from "../support/wait.ts";

const READ_COUNT = 200;
const BLOCK_BYTES = 4096;

/** The other node's worker neither reads nor writes while `use` runs. */
async function whileStopped(pid: number, use: () => Promise<void>): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  try {
    await use();
  } finally {
    Deno.kill(pid, "SIGCONT");
  }
}

/** Time enough for any acknowledgement that needs nobody else: reads are answered in the meantime. */
async function readALot(client: NbdClient): Promise<void> {
  for (let i = 0; i < READ_COUNT; i++) await client.read(1 << 20, BLOCK_BYTES);
}

for (const mode of ["fullsync", "memsync", "async"]) {
  const waits = mode !== "async";
  const outcome = waits
    ? "not acknowledged while the other node is silent"
    : "acknowledged though the other node is silent";
  Deno.test(`${mode}: a write is ${outcome}`, () =>
    withCluster({ resourceLines: [`replication ${mode}`] }, async (cluster) => {
      await cluster.startPair();
      const pid = await cluster.b.workerPid();
      assert(pid !== undefined, "the secondary has a worker");
      await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
      let acknowledged = false;
      let write: Promise<void> = Promise.resolve();
      await whileStopped(pid, async () => {
        write = client.write(0, new Random(1).bytes(BLOCK_BYTES)).then(() => {
          acknowledged = true;
        });
        if (!waits) await within("the acknowledgement", write);
        await readALot(client);
        assertEquals(acknowledged, !waits);
      });
      await within("the acknowledgement", write);
      await cluster.waitSameData();
    }));
}
