/**
 * What two daemons leave on their components, step by step, beside what the original left there
 * (activemap.json).
 *
 * Three differences are meant: here an extent becomes clean only after both nodes have flushed, so
 * that a map is compared once it has settled; a DELETE is marked like a WRITE; and an extent that
 * was in flight when the other node went stays dirty (the original loses it).
 */
import { assert, assertEquals } from "@std/assert";
import { type Cluster, type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { encodeHex } from "../support/hex.ts";
import { NbdClient } from "../support/nbd_client.ts";
import {
  annotate,
  type Annotation,
  annotations,
  type Json,
  listAt,
  loadVector,
  textAt,
} from "../support/vectors.ts";
import { Nv } from "../../protocol/nv.ts";
import { waitFor } from "../support/wait.ts";

const COMPONENT_BYTES = 16 * 1024 * 1024;
const EXTENT_BYTES = 128 * 1024;
const METADATA_BYTES = 4096;
const MAP_BYTES = 512;
const SECTOR = new Uint8Array(512).fill(0x61);
const STEPS = listAt(loadVector("activemap"), "steps");

/** The recorded step whose description begins like this. */
function step(beginning: string): Json {
  const found = STEPS.find((each) => textAt(each, "what").startsWith(beginning));
  assert(found !== undefined, `the file has a step "${beginning}"`);
  return found;
}

interface OnDisk {
  map: string;
  metadata: Annotation[];
}

/** Metadata without the resource's random number, and the map without the zeros at its end. */
async function onDisk(node: Node): Promise<OnDisk> {
  using file = await Deno.open(node.componentPath);
  const head = new Uint8Array(METADATA_BYTES + MAP_BYTES);
  assertEquals(await file.read(head), head.length);
  const { nv } = Nv.decodePrefix(head.subarray(0, METADATA_BYTES));
  return {
    map: encodeHex(head.subarray(METADATA_BYTES)).replace(/(00)+$/, ""),
    metadata: withoutUid(annotate(nv)),
  };
}

function withoutUid(entries: Annotation[]): Annotation[] {
  return entries.map(([name, type, value]) => {
    if (name === "resource") return [name, type, RESOURCE];
    return [name, type, name === "resuid" ? String(value !== "0") : value];
  });
}

/** Waits until both components are as recorded at a step; `maps` says where ours differ. */
async function settlesAs(
  { a, b }: Cluster,
  recorded: Json,
  maps: { a?: string; b?: string } = {},
): Promise<void> {
  const expected = (["a", "b"] as const).map((node): OnDisk => ({
    map: maps[node] ?? textAt(recorded, `activemap_${node}_hex`).replace(/(00)+$/, ""),
    metadata: withoutUid(annotations(listAt(recorded, `metadata_${node}`))),
  }));
  let found: OnDisk[] = [];
  const isSettled = async () => {
    found = [await onDisk(a), await onDisk(b)];
    return JSON.stringify(found) === JSON.stringify(expected);
  };
  const what = textAt(recorded, "what");
  await waitFor(what, isSettled).catch(() => assertEquals(found, expected, what));
}

async function writeExtent(client: NbdClient, extent: number, data = SECTOR): Promise<void> {
  await client.write(extent * EXTENT_BYTES, data);
}

async function whileConnected(cluster: Cluster): Promise<void> {
  await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
  await writeExtent(client, 0);
  assertEquals((await onDisk(cluster.a)).map, "01", "dirty on disk before the first answer");
  await settlesAs(cluster, step("512 bytes to extent 0"));
  await writeExtent(client, 9);
  await settlesAs(cluster, step("extent 9"));
  await writeExtent(client, 0);
  await settlesAs(cluster, step("extent 0 again"));
  await writeExtent(client, 20);
  assert((await onDisk(cluster.a)).map.startsWith("010"), "extents 0 and 20 are dirty at least");
  await settlesAs(cluster, step("extent 20"));
  const across = new Uint8Array(EXTENT_BYTES).fill(0x62);
  await client.write(30 * EXTENT_BYTES + EXTENT_BYTES / 2, across);
  await settlesAs(cluster, step("131072 bytes from the middle of extent 30"));
  await client.trim(40 * EXTENT_BYTES, EXTENT_BYTES);
  await settlesAs(cluster, step("DELETE of extent 40"), { a: "000000800001" });
  await client.write(30 * EXTENT_BYTES + EXTENT_BYTES / 2, across);
  await settlesAs(cluster, step("131072 bytes from the middle of extent 30"));
}

async function whileAlone(cluster: Cluster): Promise<void> {
  await cluster.b.stop();
  await using client = await NbdClient.connect(cluster.a.nbdPath(), RESOURCE);
  await writeExtent(client, 50);
  await settlesAs(cluster, step("B gone"));
  await writeExtent(client, 60);
  await settlesAs(cluster, step("write to extent 60"));
  await writeExtent(client, 61);
  await settlesAs(cluster, step("write to extent 61"), { a: "0000000000000430" });
  await writeExtent(client, 62);
  await settlesAs(cluster, step("write to extent 62"), { a: "0000000000000470" });
}

Deno.test("metadata and activemap on disk are the original's, from create to resynchronisation", () =>
  withCluster({ componentBytes: COMPONENT_BYTES, skipCreate: true }, async (cluster) => {
    const { a } = cluster;
    for (const node of cluster.nodes) {
      await node.hastctlOk("create", "-e", String(EXTENT_BYTES), "-k", "2", RESOURCE);
    }
    await settlesAs(cluster, step("after create on both nodes"));
    await cluster.startPair();
    await settlesAs(cluster, step("A primary, B secondary, connected"));
    await whileConnected(cluster);
    await a.role("init");
    await settlesAs(cluster, step("A role init"));
    await a.role("primary");
    await a.waitComplete();
    await settlesAs(cluster, step("A primary again"));
    await whileAlone(cluster);
    await a.crash();
    await settlesAs(cluster, step("A killed"), { a: "0000000000000470" });
    await cluster.startPair();
    await settlesAs(cluster, step("A restarted"));
    await cluster.waitSameData();
  }));
