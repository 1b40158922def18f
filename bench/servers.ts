/**
 * What is measured: a pair of nodes in each replication mode, and `nbdkit file`, which replicates
 * nothing, as the yardstick. Each on files of the same size in the same file system.
 * @module
 */
import { withCluster } from "../tests/support/cluster.ts";
import { waitFor } from "../tests/support/wait.ts";

/** A server that can be started for a while. */
export interface Server {
  name: string;
  /** Starts it, calls `use` with the URI of its export and a scratch folder, ends it. */
  run(use: (uri: string, folder: string) => Promise<void>): Promise<void>;
}

/** The first of these is what the others are compared with. */
export function servers(componentBytes: number): Server[] {
  const modes = ["fullsync", "memsync", "async"];
  return [nbdkit(componentBytes), ...modes.map((mode) => pair(mode, componentBytes))];
}

function pair(mode: string, componentBytes: number): Server {
  return {
    name: `hast ${mode}`,
    run: (use) =>
      withCluster({ componentBytes, resourceLines: [`replication ${mode}`] }, async (cluster) => {
        await cluster.startPair();
        await use(cluster.a.nbdUri(), cluster.folder);
      }),
  };
}

function nbdkit(componentBytes: number): Server {
  return {
    name: "nbdkit file",
    run: (use) =>
      // Its folder and file, so that it is the same file system; the daemons are not started.
      withCluster({ componentBytes, skipCreate: true }, async ({ folder, a }) => {
        const socket = `${folder}/nbdkit.sock`;
        const server = new Deno.Command("nbdkit", {
          args: ["--foreground", "--unix", socket, "file", a.componentPath],
          stdin: "null",
          stderr: "null", // It complains of the connection that only looks whether it listens.
        }).spawn();
        try {
          await waitFor("nbdkit listens", () => {
            return Deno.connect({ transport: "unix", path: socket })
              .then((conn) => (conn.close(), true), () => false);
          });
          await use(`nbd+unix:///?socket=${socket}`, folder);
        } finally {
          server.kill("SIGTERM");
          await server.status;
        }
      }),
  };
}
