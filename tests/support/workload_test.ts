import { assertRejects } from "@std/assert";
import { NbdClient } from "./nbd_client.ts";
import { testWith } from "./needs.ts";
import { Random } from "./random.ts";
import { waitFor } from "./wait.ts";
import { Model } from "./workload.ts";

const EXPORT_BYTES = 4 * 1024 * 1024;
const WORKLOAD = { operationCount: 500, queueDepth: 32, requestBytesMax: 256 * 1024 };

/** Runs `test` with nbdkit, a server known to be right. */
async function withNbdkit(test: (client: NbdClient) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "hast-test-" });
  const socket = `${folder}/sock`;
  const server = new Deno.Command("nbdkit", {
    args: ["--foreground", "--unix", socket, "memory", String(EXPORT_BYTES)],
    stdin: "null",
    stdout: "null",
  }).spawn();
  try {
    const client = await waitFor(
      "nbdkit listens",
      () => NbdClient.connect(socket).catch(() => undefined),
    );
    await test(client);
    await client[Symbol.asyncDispose]();
  } finally {
    server.kill("SIGTERM");
    await server.status;
    Deno.removeSync(folder, { recursive: true });
  }
}

testWith(
  ["program nbdkit"],
  "Model finds nothing wrong with nbdkit's memory",
  () =>
    withNbdkit(async (client) => {
      await new Model(client, new Random(1), new Uint8Array(EXPORT_BYTES)).run(WORKLOAD);
    }),
);

testWith(
  ["program nbdkit"],
  "Model notices an export that holds something else",
  () =>
    withNbdkit(async (client) => {
      const model = new Model(client, new Random(1), new Uint8Array(EXPORT_BYTES).fill(1));
      await assertRejects(() => model.run(WORKLOAD), Error, "differs from the model");
    }),
);
