/** The hook program is told of everything that happens to a pair, on the node where it happens. */
import { assert, assertEquals } from "@std/assert";
import { RESOURCE } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { Random } from "../support/random.ts";
import { reconfigure } from "../support/reconfigure.ts";
import { withRelayedCluster } from "../support/relayed_cluster.ts";
import { statusOf, waitInSync } from "../support/status.ts";
import { waitFor } from "../support/wait.ts";

const MIB = 1024 * 1024;
/** One line per call; both nodes run it, which their peers tell apart. */
const HOOK = `#!/bin/sh
echo "$HAST_PEER $HAST_ROLE $HAST_RESOURCE $*" >> "\${0%hook}calls"
`;

Deno.test("hooks: role, connect, disconnect, syncstart, syncintr, syncdone", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/hook`, HOOK, { mode: 0o755 });
  const options = { resourceLines: [`exec ${folder}/hook`, "sync-rate 4M"] };
  try {
    await withRelayedCluster(options, async (cluster, relays) => {
      const { a, b } = cluster;
      /** How often the hook of the primary, or of the secondary, was told of an event. */
      const count = async (role: "primary" | "secondary", event: string) => {
        const peer = `127.0.0.1:${(role === "primary" ? relays.b : relays.a).port}`;
        const calls = await Deno.readTextFile(`${folder}/calls`);
        return calls.split(`${peer} ${role} ${RESOURCE} ${event} ${RESOURCE}`).length - 1;
      };
      const told = (role: "primary" | "secondary", event: string, times: number) =>
        waitFor(`${role} is told ${times} times of ${event}`, async () => {
          return await count(role, event) === times;
        });
      await a.start();
      await a.role("primary");
      await told("primary", "role", 1);
      {
        await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
        await client.write(0, new Random(51).bytes(24 * MIB));
      }
      await b.start();
      await b.role("secondary");
      await told("secondary", "role", 1);
      await a.hastctlOk("reload");
      for (const role of ["primary", "secondary"] as const) await told(role, "connect", 1);
      await told("primary", "syncstart", 1);
      await waitFor("it runs", async () => (await statusOf(a)).sync?.active === true);
      relays.b.cut();
      for (const role of ["primary", "secondary"] as const) await told(role, "disconnect", 1);
      await told("primary", "syncintr", 1);
      assertEquals(await count("primary", "syncdone"), 0);
      await told("primary", "connect", 2);
      await told("primary", "syncstart", 2);
      await reconfigure(cluster, a, ["sync-rate 4M", "sync-rate none"]);
      await waitInSync(a);
      await told("primary", "syncdone", 1);
      for (const event of ["syncstart", "syncintr", "syncdone"]) {
        assertEquals(await count("secondary", event), 0, "the primary is told of these");
      }
      const calls = await Deno.readTextFile(`${folder}/calls`);
      assert(calls.includes(`role ${RESOURCE} init primary\n`), "with the old and the new role");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
