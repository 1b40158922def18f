/**
 * hastd with the workers of tests/support/fake_worker.ts: the real main process, alone.
 * @module
 */
import { hastdMain } from "../../hastd/daemon.ts";

const worker = new URL("./fake_worker.ts", import.meta.url).pathname;

Deno.exit(
  await hastdMain(Deno.args, {
    workerCommand: {
      path: Deno.execPath(),
      args: ["run", "--quiet", "--allow-all", "--no-check", "--cached-only", worker],
    },
  }),
);
