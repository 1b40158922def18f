/** When a primary without its peer dials: not only every 10 s. */
import { withCluster } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";

/** Well below the 10 s between two attempts. */
const AT_ONCE_MS = 5_000;

Deno.test("a primary dials at once after a reload, though nothing was changed", () =>
  withCluster({}, async ({ a, b }) => {
    await a.start();
    await a.role("primary");
    await a.waitLog(/Unable to connect/);
    await b.start();
    await b.role("secondary");
    await a.hastctlOk("reload");
    await a.waitLog(/\[INFO\] \[disk0\] \(primary\) Configuration reloaded successfully\./);
    await waitFor("the nodes are connected", async () => {
      return (await a.list()).get("status") === "complete";
    }, AT_ONCE_MS);
  }));
