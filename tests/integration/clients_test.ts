/** Other people's NBD clients against a running pair: what they need must be there and right. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Cluster, firstDifference, RESOURCE, withCluster } from "../support/cluster.ts";
import { testWith } from "../support/needs.ts";
import { runOk } from "../support/process.ts";
import { Random, testSeed } from "../support/random.ts";

const IMAGE_BYTES = 32 * 1024 * 1024;

function withPair(test: (cluster: Cluster) => Promise<void>): () => Promise<void> {
  return () =>
    withCluster({}, async (cluster) => {
      await cluster.startPair();
      await test(cluster);
    });
}

testWith(
  ["program nbdinfo"],
  "nbdinfo sees the export, its size and what it can",
  withPair(async ({ a }) => {
    const uri = a.nbdUri();
    const { dataBytes } = await a.layout();
    assertEquals((await runOk("nbdinfo", "--size", uri)).trim(), String(dataBytes));
    for (const ability of ["flush", "fua", "trim", "zero", "multi-conn", "cache"]) {
      await runOk("nbdinfo", "--can", ability, uri);
    }
    assertMatch(await runOk("nbdinfo", "--list", uri), new RegExp(`export="${RESOURCE}"`));
  }),
);

testWith(
  ["program nbdinfo"],
  "nbdinfo sees the export where the client names none",
  withPair(async ({ a }) => {
    const { dataBytes } = await a.layout();
    const size = await runOk("nbdinfo", "--size", `nbd+unix:///?socket=${a.nbdPath()}`);
    assertEquals(size.trim(), String(dataBytes));
  }),
);

testWith(
  ["program nbdcopy"],
  "nbdcopy copies an image in over four connections, and back",
  withPair(async (cluster) => {
    const image = new Random(testSeed()).bytes(IMAGE_BYTES);
    image.fill(0, IMAGE_BYTES / 4, IMAGE_BYTES / 2); // nbdcopy makes these zero writes.
    const [source, back] = [`${cluster.folder}/source`, `${cluster.folder}/back`];
    await Deno.writeFile(source, image);
    const options = ["--connections=4", "--requests=32", "--flush"];
    await runOk("nbdcopy", ...options, source, cluster.a.nbdUri());
    await runOk("nbdcopy", ...options, cluster.a.nbdUri(), back);
    const copy = (await Deno.readFile(back)).subarray(0, IMAGE_BYTES);
    assertEquals(firstDifference(copy, image), -1, "what is read is what was written");
    const data = await cluster.waitSameData();
    assertEquals(firstDifference(data.subarray(0, IMAGE_BYTES), image), -1);
  }),
);

testWith(
  ["program qemu-io"],
  "qemu-io writes, writes through, discards and writes zeros",
  withPair(async (cluster) => {
    const commands = [
      "write -P 0x11 0 1M",
      "write -f -P 0x22 1M 64k",
      "write -P 0x33 2M 1M",
      "discard 2M 512k",
      "write -z 2560k 4k",
      "write -z -u 2564k 4k",
      "flush",
      "read -P 0x11 0 1M",
      "read -P 0x22 1M 64k",
      "read -P 0 2M 520k",
      "read -P 0x33 2568k 4k",
    ];
    const output = await runOk(
      "qemu-io",
      "-f",
      "raw",
      ...commands.flatMap((command) => ["-c", command]),
      cluster.a.nbdUri(),
    );
    assert(!/fail/i.test(output), output);
    const data = await cluster.waitSameData();
    assertEquals([data[0], data[1 << 20], data[2 << 20]], [0x11, 0x22, 0]);
  }),
);

testWith(
  ["program fio"],
  "fio verifies what it wrote with four jobs at once",
  withPair(async (cluster) => {
    await runOk(
      "fio",
      "--name=verify",
      "--ioengine=nbd",
      `--uri=${cluster.a.nbdUri()}`,
      "--rw=randwrite",
      "--bssplit=512/20:4k/60:128k/20",
      "--size=8M",
      "--offset_increment=8M",
      "--numjobs=4",
      "--iodepth=16",
      "--verify=crc32c",
      "--verify_fatal=1",
      "--verify_state_save=0",
      "--fsync=64",
      `--aux-path=${cluster.folder}`,
    );
    await cluster.waitSameData();
  }),
);
