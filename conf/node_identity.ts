/**
 * Which node this is, and which names in a configuration mean it. The facts come from outside
 * (`hastd/node_identity.ts`); here are only the rules.
 *
 * Source: hast.conf(5), `on`; conf.md.
 * @module
 */

/** By what names this node goes. */
export interface NodeIdentity {
  /** The full host name, or the argument of `-n`. */
  hostName: string;
  /** First label of `hostName`. */
  shortName: string;
  /** kern.hostuuid on FreeBSD; elsewhere the machine id, written as a UUID. */
  uuid?: string;
  /** kern.hostid on FreeBSD, as a decimal number. */
  hostid?: string;
}

/** The identity that `-n NAME` gives: this name, its first label, and nothing of the host. */
export function identityOfName(name: string): NodeIdentity {
  return { hostName: name, shortName: firstLabel(name) };
}

/** What stands in front of the first dot; all of `name` where that would be nothing. */
export function firstLabel(name: string): string {
  return name.split(".", 1)[0] || name;
}

/** Names under which a configuration may address this node, in the order of hastd's message. */
export function acceptableNodeNames(identity: NodeIdentity): string[] {
  const names = [identity.shortName, identity.hostName];
  if (identity.uuid !== undefined) names.push(identity.uuid);
  if (identity.hostid !== undefined) names.push(`hostid${identity.hostid}`);
  return [...new Set(names)];
}

/**
 * Whether `name` means this node. Host names compare exactly, as hastd does; a UUID in either
 * case and with or without dashes, because /etc/machine-id has none.
 */
export function isThisNode(identity: NodeIdentity, name: string): boolean {
  return acceptableNodeNames(identity).includes(name) ||
    (identity.uuid !== undefined && uuidDigits(identity.uuid) === uuidDigits(name));
}

function uuidDigits(uuid: string): string {
  return uuid.replaceAll("-", "").toLowerCase();
}
