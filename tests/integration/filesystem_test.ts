/** A real file system on the disk: made and filled on one node, whole and clean on the other. */
import { assertEquals } from "@std/assert";
import { type Cluster, type Node, withCluster } from "../support/cluster.ts";
import { testWith } from "../support/needs.ts";
import { isAlive, run, runOk, startLogged } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";

/** Makes the export of a node a block device, by FUSE and a loop device, for one function. */
async function withBlockDevice(
  cluster: Cluster,
  node: Node,
  use: (device: string) => Promise<void>,
): Promise<void> {
  const file = `${cluster.folder}/${node.name}.fuse`;
  await Deno.writeFile(file, new Uint8Array());
  const fuse = startLogged(`${file}.log`, "nbdfuse", ["-C", "4", file, node.nbdUri()]);
  try {
    await waitFor("nbdfuse shows the disk", () => Deno.statSync(file).size > 0);
    const device = (await runOk("losetup", "-f", "--show", "--direct-io=on", file)).trim();
    try {
      await use(device);
    } finally {
      await runOk("losetup", "-d", device);
    }
  } finally {
    await waitFor("FUSE unmounts", async () => (await run("fusermount3", "-u", file)).code === 0);
    await waitFor("nbdfuse ends", async () => !(await isAlive(fuse.pid)));
    await fuse.status;
  }
}

async function withMount(
  cluster: Cluster,
  device: string,
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = `${cluster.folder}/mnt`;
  await Deno.mkdir(folder, { recursive: true });
  await runOk("mount", device, folder);
  try {
    await use(folder);
  } finally {
    await runOk("umount", folder);
  }
}

/** Check sums of all files below a folder, one line each. */
async function checksums(folder: string): Promise<string> {
  const script = 'cd "$1" && find . -type f -exec sha256sum {} + | sort';
  return await runOk("sh", "-c", script, "sh", folder);
}

async function fillAndSync(folder: string): Promise<string> {
  const script = `cd "$1" && for i in 1 2 3 4 5 6 7 8; do
    mkdir -p "dir$i" && dd if=/dev/urandom of="dir$i/data" bs=64k count=$((i * 3)) 2>/dev/null
    for j in 1 2 3 4 5 6 7 8 9 10; do echo "$i $j" >"dir$i/small$j"; done
  done && rm -r dir3 && sync -f .`;
  await runOk("sh", "-c", script, "sh", folder);
  return await checksums(folder);
}

testWith(
  [
    "root",
    "linux",
    "fuse",
    "loop",
    "program nbdfuse",
    "program fusermount3",
    "program losetup",
    "program mkfs.ext4",
  ],
  "ext4 filled on one node is clean and complete on the other after a role change",
  () =>
    withCluster({}, async (cluster) => {
      await cluster.startPair();
      let written = "";
      await withBlockDevice(cluster, cluster.a, async (device) => {
        await runOk("mkfs.ext4", "-q", "-F", device);
        await withMount(cluster, device, async (folder) => {
          written = await fillAndSync(folder);
        });
      });
      await cluster.switchRoles(cluster.a, cluster.b);
      await withBlockDevice(cluster, cluster.b, async (device) => {
        await runOk("fsck.ext4", "-f", "-n", device);
        await withMount(cluster, device, async (folder) => {
          assertEquals(await checksums(folder), written);
        });
      });
      await cluster.waitSameData();
    }),
);
