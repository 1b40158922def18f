/**
 * `hastctl status --json` as tests read it.
 * @module
 */
import { type Node, RESOURCE } from "./cluster.ts";
import { waitFor } from "./wait.ts";

/** Of the fields in docs/hastctl.8 those that tests look at. */
export interface ResourceStatus {
  role: string;
  status: string | null;
  workerPid: number | null;
  connection: { state: string; reason: string | null; message: string | null };
  localComponent: { state: string; errno: number | null } | null;
  dirtyBytes: number | null;
  staleBytes: number | null;
  sync: { active: boolean; direction: string; totalBytes: number; copiedBytes: number } | null;
  localcnt: string | null;
  remotecnt: string | null;
  statistics: { activemapUpdates: number; writeErrors: number } | null;
}

/** What the daemon of `node` says of its resource. */
export async function statusOf(node: Node): Promise<ResourceStatus> {
  const document: { resources: ResourceStatus[] } = JSON.parse(
    await node.hastctlOk("status", "--json", RESOURCE),
  );
  const [resource] = document.resources;
  if (resource === undefined) throw new Error(`${node.name} has no resource ${RESOURCE}`);
  return resource;
}

/** Waits until `node`, a primary, is connected and neither side lacks anything. */
export async function waitInSync(node: Node): Promise<void> {
  await waitFor(`${node.name} is in sync with the other node`, async () => {
    const { status, staleBytes, sync } = await statusOf(node);
    return status === "complete" && staleBytes === 0 && sync?.active !== true;
  });
}
