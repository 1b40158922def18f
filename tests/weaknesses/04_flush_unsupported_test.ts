/**
 * In the original a flush on a component that cannot flush leaves an error that nobody has set.
 *
 * Seen to fail with this planted: `RequestPath.#localFlushed` passes EOPNOTSUPP on, and
 * `#remoteFailed` too.
 */
import { assert, assertEquals } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { FLAG, NbdClient } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { Random } from "../support/random.ts";
import { waitInSync } from "../support/status.ts";
import { Strace } from "../support/strace.ts";

const WARNING = /\[WARNING\] .* does not support flushing its cache\./g;

/** From now on `node` has a component without a cache to flush. */
async function makeUnsupported(node: Node): Promise<Strace> {
  const pid = await node.workerPid();
  assert(pid !== undefined, `${node.name} has a worker`);
  return await Strace.attach(pid, {
    path: node.componentPath,
    calls: ["fdatasync"],
    inject: "error=EOPNOTSUPP",
    folder: node.folder,
  });
}

async function writeAndFlush(client: NbdClient): Promise<void> {
  const random = new Random(4);
  for (let i = 0; i < 3; i++) {
    await client.write(i * 4096, random.bytes(4096));
    await client.flush();
    await client.write(i * 4096, random.bytes(4096), FLAG.fua);
  }
}

for (const [which, where] of [["a", "here"], ["b", "there"], ["ab", "on either side"]] as const) {
  testWith(
    ["linux", "root", "program strace"],
    `weakness 4: a flush that the component cannot do ${where} succeeds and is said once`,
    () =>
      withCluster({}, async (cluster) => {
        await cluster.startPair();
        const [here, there] = [which.includes("a"), which.includes("b")];
        await using _a = here ? await makeUnsupported(cluster.a) : undefined;
        await using _b = there ? await makeUnsupported(cluster.b) : undefined;
        await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
        await writeAndFlush(client);
        assertEquals(cluster.a.log().match(WARNING)?.length ?? 0, here ? 1 : 0);
        await waitInSync(cluster.a);
        await cluster.waitSameData();
      }),
  );
}
