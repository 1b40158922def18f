/** Other people's NBD clients against the NBD front alone, with a file behind it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { testWith } from "../support/needs.ts";
import { run, runOk } from "../support/process.ts";
import { Random, testSeed } from "../support/random.ts";
import { waitFor, within } from "../support/wait.ts";

const MIB = 1024 * 1024;
const SIZE_BYTES = 64 * MIB;
const NAME = "disk";

interface Served {
  imagePath: string;
  folder: string;
  socketPath: string;
  /** The default export. */
  uri: string;
}

/** Serves a file of random bytes while `test` runs; the server must end well afterwards. */
async function withServer(test: (served: Served) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "nbd_front_" });
  const imagePath = `${folder}/image`;
  const socketPath = `${folder}/socket`;
  await Deno.writeFile(imagePath, new Random(testSeed()).bytes(SIZE_BYTES));
  const script = new URL("../support/nbd_file_server.ts", import.meta.url).pathname;
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, imagePath, socketPath, NAME],
    stdin: "piped",
    stdout: "null",
  }).spawn();
  try {
    await waitFor("the server listens", () => exists(socketPath));
    await test({ imagePath, folder, socketPath, uri: `nbd+unix:///?socket=${socketPath}` });
    await server.stdin.close();
    const { code } = await within("the server ends", server.status);
    assertEquals(code, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A Python that has libnbd: the system's, which may not be the first in PATH. */
function pythonWithNbd(): string | undefined {
  for (const python of ["python3", "/usr/bin/python3"]) {
    try {
      const args = ["-c", "import nbd"];
      const command = new Deno.Command(python, { args, stdout: "null", stderr: "null" });
      if (command.outputSync().success) return python;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
}

testWith(
  ["program nbdinfo"],
  "nbdinfo sees all that the front offers",
  () =>
    withServer(async ({ uri, socketPath }) => {
      const named = `nbd+unix:///${NAME}?socket=${socketPath}`;
      for (const place of [uri, named]) {
        const info = JSON.parse(await runOk("nbdinfo", "--no-content", "--json", place));
        assertEquals(info.protocol, "newstyle-fixed");
        assertEquals(info.structured, true);
        const [found] = info.exports;
        assertEquals(found["export-name"], NAME);
        assertEquals(found["export-size"], SIZE_BYTES);
        assertEquals(found.contexts, ["base:allocation"]);
        assertEquals(found.block_size_minimum, 512);
        assertEquals(found.block_size_preferred, 4096);
        assertEquals(found.block_size_maximum, 32 * MIB);
      }
      for (
        const can of [
          ...[
            "connect",
            "read",
            "write",
            "flush",
            "fua",
            "trim",
            "zero",
            "fast-zero",
            "df",
            "cache",
          ],
          ...["multi-conn", "structured-reply"],
        ]
      ) {
        await runOk("nbdinfo", "--can", can, uri);
      }
      for (const is of ["read-only", "rotational"]) {
        assertEquals((await run("nbdinfo", "--is", is, uri)).code, 2, is);
      }
      assertStringIncludes(await runOk("nbdinfo", "--list", uri), `export="${NAME}"`);
      assertStringIncludes(await runOk("nbdinfo", "--map", "--totals", uri), "data");
      const other = await run("nbdinfo", `nbd+unix:///tape?socket=${socketPath}`);
      assertEquals(other.code, 1);
    }),
);

testWith(
  ["program nbdcopy"],
  "nbdcopy copies both ways over four connections",
  () =>
    withServer(async ({ uri, imagePath, folder }) => {
      const options = ["--connections=4", "--requests=64", "--flush"];
      await runOk("nbdcopy", ...options, uri, `${folder}/out`);
      await runOk("cmp", imagePath, `${folder}/out`);
      const image = new Random(testSeed() + 1).bytes(SIZE_BYTES);
      image.fill(0, 8 * MIB, 24 * MIB); // Sent as WRITE_ZEROES.
      await Deno.writeFile(`${folder}/in`, image);
      await runOk("nbdcopy", ...options, `${folder}/in`, uri);
      await runOk("cmp", imagePath, `${folder}/in`);
      await runOk("nbdcopy", "--synchronous", "--request-size=33554432", uri, `${folder}/out`);
      await runOk("cmp", `${folder}/out`, `${folder}/in`);
    }),
);

testWith(
  ["program qemu-io", "program qemu-img"],
  "QEMU reads, writes, zeroes and discards",
  () =>
    withServer(async ({ uri, imagePath }) => {
      const commands = [
        ...["write -P 1 0 1M", "write -f -P 2 1M 64k", "write -z 2M 1M", "write -z -u 3M 1M"],
        ...["discard 8M 1M", "write -P 3 30M 30M", "flush", "read -P 1 0 1M", "read -P 2 1M 64k"],
        ...["read -P 0 2M 2M", "read -P 3 30M 30M", "aio_write -P 4 5M 1M", "aio_flush"],
        "read -P 4 5M 1M",
      ];
      const args = commands.flatMap((command) => ["-c", command]);
      const output = await runOk("qemu-io", "-f", "raw", ...args, uri);
      assert(!output.includes("failed"), output);
      const image = await Deno.readFile(imagePath);
      assert(image.subarray(30 * MIB, 60 * MIB).every((byte) => byte === 3));
      const info = JSON.parse(await runOk("qemu-img", "info", "--output=json", uri));
      assertEquals(info["virtual-size"], SIZE_BYTES);
      await runOk("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, imagePath);
    }),
);

testWith(
  ["program fio"],
  "fio verifies what it has written",
  () =>
    withServer(async ({ uri, folder }) => {
      await runOk(
        "fio",
        ...["--name=verify", "--ioengine=nbd", `--uri=${uri}`, "--rw=randwrite", "--iodepth=32"],
        ...["--bsrange=512-1M", "--size=48M", "--verify=crc32c", "--do_verify=1", "--fsync=64"],
        ...[
          "--verify_fatal=1",
          "--verify_state_save=0",
          "--blockalign=512",
          "--norandommap",
          "--numjobs=1",
        ],
        `--output=${folder}/fio.txt`,
      );
    }),
);

const python = pythonWithNbd();
const CONFORMANCE = "libnbd: options, flags, bad requests, chunks, block status, depth 64";
Deno.test({
  name: python === undefined ? `${CONFORMANCE} (skipped: needs libnbd for Python)` : CONFORMANCE,
  ignore: python === undefined,
  fn: () =>
    withServer(async ({ socketPath }) => {
      const script = new URL("../support/nbd_conformance.py", import.meta.url).pathname;
      const args = [script, socketPath, NAME, String(SIZE_BYTES)];
      const output = await runOk(python ?? "", ...args);
      assertEquals(output.trim().split("\n").length, 7);
    }),
});
