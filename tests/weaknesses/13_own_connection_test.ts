/**
 * The hastd of FreeBSD 15 cannot replicate as a primary: its worker waits for a connection that its
 * parent never hands over.
 *
 * Seen to fail with this planted: the worker asks its parent before it dials.
 */
import { assert } from "@std/assert";
import { RESOURCE } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { Random } from "../support/random.ts";
import { withRelayedCluster } from "../support/relayed_cluster.ts";
import { waitFor } from "../support/wait.ts";

testWith(
  ["linux"],
  "weakness 13: a primary's worker dials by itself, its parent being stopped",
  () =>
    withRelayedCluster({}, async (cluster, { b: relay }) => {
      const { a, b } = cluster;
      await cluster.startPair();
      await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
      Deno.kill(a.pid, "SIGSTOP");
      try {
        const { acceptedCount } = relay;
        relay.cut();
        await waitFor("the worker dials", () => relay.acceptedCount >= acceptedCount + 2);
        const data = new Random(13).bytes(4096);
        await client.write(0, data);
        await waitFor("the other node has it", async () => {
          const there = (await b.readData()).subarray(0, data.length);
          return there.every((byte, i) => byte === data[i]);
        });
      } finally {
        Deno.kill(a.pid, "SIGCONT");
      }
      assert(await a.workerPid() !== undefined);
    }),
);
