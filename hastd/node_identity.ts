/**
 * By what names this host goes: the facts behind `on NODE` of hast.conf(5).
 *
 * FreeBSD: kern.hostname, kern.hostuuid, kern.hostid. Elsewhere the UUID is the machine id,
 * and there is no hostid.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import { firstLabel, identityOfName, type NodeIdentity } from "../conf/node_identity.ts";

/** Where the machine id is, in the order of machine-id(5). */
const MACHINE_ID_PATHS = ["/etc/machine-id", "/var/lib/dbus/machine-id"] as const;

/**
 * The identity of this node.
 *
 * @param nodeName The argument of `-n`, if there was one: then nothing of the host counts.
 */
export function nodeIdentity(nodeName?: string): NodeIdentity {
  if (nodeName !== undefined) return identityOfName(nodeName);
  const hostName = Deno.hostname();
  const ids = Deno.build.os === "freebsd" ? freebsdIds() : { uuid: machineId() };
  return { hostName, shortName: firstLabel(hostName), ...ids };
}

/**
 * A machine id, 32 hexadecimal digits, in the usual form of a UUID.
 *
 * @returns Undefined where the text is none (`uninitialized` on a host that boots first).
 */
export function uuidOfMachineId(text: string): string | undefined {
  const parts = /^([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})$/i
    .exec(text.trim());
  return parts?.slice(1).join("-").toLowerCase();
}

function machineId(): string | undefined {
  for (const path of MACHINE_ID_PATHS) {
    const text = readIfThere(path);
    if (text !== undefined) return uuidOfMachineId(text);
  }
  return undefined;
}

function freebsdIds(): { uuid?: string; hostid?: string } {
  return { uuid: sysctl("kern.hostuuid"), hostid: sysctl("kern.hostid") };
}

function sysctl(name: string): string | undefined {
  try {
    const { success, stdout } = new Deno.Command("/sbin/sysctl", {
      args: ["-n", name],
      stderr: "null",
    }).outputSync();
    const value = new TextDecoder().decode(stdout).trim();
    return success && value !== "" ? value : undefined;
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return undefined;
    throw thrown;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (thrown) {
    if (thrown instanceof Deno.errors.NotFound) return undefined;
    if (thrown instanceof Deno.errors.PermissionDenied) return undefined; // A name less, no more.
    throw thrown;
  }
}
