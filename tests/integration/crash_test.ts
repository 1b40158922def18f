/** kill -9 of the primary under load: what was acknowledged is on the other node. */
import { assert } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { waitFor } from "../support/wait.ts";

const BLOCK_BYTES = 4096;
const WRITER_COUNT = 32;
const BLOCKS_PER_WRITER = 64;
const ACKNOWLEDGED_MIN = 2_000;

/** The number of the last write that was acknowledged, and of the last sent, by block. */
interface Ledger {
  acknowledged: Map<number, number>;
  sent: Map<number, number>;
  count: number;
}

function blockBytes(number: number): Uint8Array {
  return new Uint8Array(new Uint32Array(BLOCK_BYTES / 4).fill(number).buffer);
}

/** Writes its own blocks, one at a time, over and over, until the connection ends. */
async function write(client: NbdClient, first: number, ledger: Ledger): Promise<void> {
  for (let i = 0;; i = (i + 1) % BLOCKS_PER_WRITER) {
    const block = first + i;
    const number = (ledger.sent.get(block) ?? 0) + 1;
    ledger.sent.set(block, number);
    try {
      await client.write(block * BLOCK_BYTES, blockBytes(number));
    } catch {
      return; // The crash. Whether this one arrived is open.
    }
    ledger.acknowledged.set(block, number);
    ledger.count++;
  }
}

async function verify(node: Node, ledger: Ledger): Promise<void> {
  await using client = await NbdClient.connect(node.nbdPath(), RESOURCE);
  for (const [block, sent] of ledger.sent) {
    const data = await client.read(block * BLOCK_BYTES, BLOCK_BYTES);
    const words = new Uint32Array(data.buffer);
    const number = words[0] ?? 0;
    const acknowledged = ledger.acknowledged.get(block) ?? 0;
    assert(
      words.every((word) => word === number) && acknowledged <= number && number <= sent,
      `block ${block} holds write ${number}; ${acknowledged} was acknowledged, ${sent} sent`,
    );
  }
}

for (const mode of ["fullsync", "memsync"]) {
  Deno.test(`${mode}: kill -9 of the primary under load loses nothing acknowledged`, () =>
    withCluster({ resourceLines: [`replication ${mode}`] }, async (cluster) => {
      await cluster.startPair();
      const ledger: Ledger = { acknowledged: new Map(), sent: new Map(), count: 0 };
      await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
      const writers = Array.from(
        { length: WRITER_COUNT },
        (_, i) => write(client, i * BLOCKS_PER_WRITER, ledger),
      );
      await waitFor("enough writes are acknowledged", () => ledger.count >= ACKNOWLEDGED_MIN);
      await cluster.a.crash();
      await Promise.all(writers);
      await cluster.b.role("primary");
      await verify(cluster.b, ledger);
    }));
}
