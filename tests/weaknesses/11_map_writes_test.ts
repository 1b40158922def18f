/**
 * The original writes its activemap, and flushes it with metaflush, once for each extent that
 * becomes dirty, and lets every request wait meanwhile.
 *
 * Seen to fail with this planted: `RequestPath.#prepare` marks no extent while another
 * request waits for the map.
 */
import { assert, assertEquals } from "@std/assert";
import { RESOURCE, withCluster } from "../support/cluster.ts";
import { NbdClient } from "../support/nbd_client.ts";
import { testWith } from "../support/needs.ts";
import { Random } from "../support/random.ts";
import { Strace } from "../support/strace.ts";

const EXTENT_BYTES = 64 * 1024;
const WRITE_COUNT = 32;
const MAP_OFFSET = 4096;
/** The first request may be alone; the others gather behind it. */
const MAP_WRITES_MAX = 4;

/** Offsets of the calls `pwrite64(fd, ..., length, OFFSET)`. */
function offsetsOf(calls: string[]): number[] {
  return calls.map((line) => /pwrite64\(.*, (\d+)\) += /.exec(line)?.[1])
    .filter((offset) => offset !== undefined).map(Number);
}

for (const metaflush of ["on", "off"]) {
  testWith(
    ["linux", "root", "program strace"],
    `weakness 11: metaflush ${metaflush}: 32 new extents at once, a few writes of the map`,
    () =>
      withCluster(
        { skipCreate: true, resourceLines: [`metaflush ${metaflush}`] },
        async (cluster) => {
          const { a, nodes } = cluster;
          for (const node of nodes) {
            await node.hastctlOk("create", "-e", String(EXTENT_BYTES), RESOURCE);
          }
          await cluster.startPair();
          const { offsetBytes } = await a.layout();
          await using client = await NbdClient.connect(a.nbdPath(), RESOURCE);
          const pid = await a.workerPid();
          assert(pid !== undefined, "the primary has a worker");
          const data = new Random(11).bytes(4096);
          await using strace = await Strace.attach(pid, {
            path: a.componentPath,
            calls: ["pwrite64", "fdatasync"],
            folder: cluster.folder,
          });
          await Promise.all(
            Array.from({ length: WRITE_COUNT }, (_, i) => client.write(i * EXTENT_BYTES, data)),
          );
          const calls = await strace.end();
          const offsets = offsetsOf(calls);
          const ofData = offsets.filter((offset) => offset >= offsetBytes);
          const ofMap = offsets.filter((offset) => offset >= MAP_OFFSET && offset < offsetBytes);
          const flushes = calls.filter((line) => line.includes("fdatasync("));
          assertEquals(ofData.length, WRITE_COUNT, calls.join("\n"));
          assert(ofMap.length > 0 && ofMap.length <= MAP_WRITES_MAX, `${ofMap.length} map writes`);
          if (metaflush === "off") assertEquals(flushes.length, 0, calls.join("\n"));
          else assert(flushes.length > 0 && flushes.length <= MAP_WRITES_MAX, calls.join("\n"));
        },
      ),
  );
}
