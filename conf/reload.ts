/**
 * What a changed configuration means for resources that are in use: the decision alone, for hastd,
 * which acts on it, and for hastctl, which tells beforehand.
 *
 * Source: control.md, Reload; hastd(8).
 * @module
 */
import type { ResourceConfig } from "./config.ts";

/**
 * | action    | what happens                                                                     |
 * |-----------|----------------------------------------------------------------------------------|
 * | nothing   | its section says what it said before                                             |
 * | apply     | takes effect at once; nobody notices                                             |
 * | reconnect | likewise, and the primary connects to the other node anew                        |
 * | restart   | through role init back to its role: a primary's disk is gone for a moment        |
 * | add       | new, in role init                                                                |
 * | remove    | put into role init and forgotten                                                 |
 */
export type ReloadAction = "nothing" | "apply" | "reconnect" | "restart" | "add" | "remove";

export type Role = "init" | "primary" | "secondary";

/** A resource as it is in use. */
export interface CurrentResource {
  readonly config: ResourceConfig;
  readonly role: Role;
}

/** What becomes of one resource. */
export interface ResourcePlan {
  name: string;
  action: ReloadAction;
  /** Before; undefined for a new one. */
  role: Role | undefined;
  /** Statements whose value changes, in the words of hast.conf. */
  changed: string[];
}

type Field = Exclude<keyof ResourceConfig, "name">;

/** How hast.conf calls each value. */
const STATEMENT: Readonly<Record<Field, string>> = {
  replication: "replication",
  checksum: "checksum",
  compression: "compression",
  timeoutSeconds: "timeout",
  execPath: "exec",
  metaflush: "metaflush",
  providerName: "name",
  localPath: "local",
  remoteAddress: "remote",
  sourceAddress: "source",
  providerNbd: "provider nbd",
  syncRateBytesPerSecond: "sync-rate",
  secretPaths: "secret",
};

/** With another value of these the disk of a primary would be another disk, or elsewhere. */
const DISK: ReadonlySet<string> = new Set(["name", "local", "provider nbd"]);
const CONNECTION: ReadonlySet<string> = new Set(["remote", "source", "secret"]);
/** Means nothing to a secondary. */
const OF_PRIMARY: ReadonlySet<string> = new Set(["sync-rate"]);

/**
 * What becomes of each resource: first those that disappear, then the others in their new order.
 */
export function planReload(
  current: readonly CurrentResource[],
  wanted: readonly ResourceConfig[],
): ResourcePlan[] {
  const names = new Set(wanted.map(({ name }) => name));
  const removed = current.filter(({ config }) => !names.has(config.name));
  return [
    ...removed.map(({ config: { name }, role }): ResourcePlan => {
      return { name, action: "remove", role, changed: [] };
    }),
    ...wanted.map((each) =>
      planResource(current.find(({ config }) => config.name === each.name), each)
    ),
  ];
}

/** What becomes of one resource; `known` is undefined for a new one. */
export function planResource(
  known: CurrentResource | undefined,
  wanted: ResourceConfig,
): ResourcePlan {
  const { name } = wanted;
  if (known === undefined) return { name, action: "add", role: undefined, changed: [] };
  const changed = changedStatements(known.config, wanted);
  return { name, action: actionFor(known.role, changed), role: known.role, changed };
}

function changedStatements(before: ResourceConfig, after: ResourceConfig): string[] {
  return Object.entries(STATEMENT)
    .filter(([field]) => valueOf(before, field) !== valueOf(after, field))
    .map(([, statement]) => statement);
}

/** A value as something that can be compared. */
function valueOf(config: ResourceConfig, field: string): unknown {
  const value: unknown = Reflect.get(config, field);
  return Array.isArray(value) ? value.join(" ") : value;
}

function actionFor(role: Role, changed: readonly string[]): ReloadAction {
  if (changed.length === 0) return "nothing";
  if (role !== "primary") {
    return changed.every((statement) => OF_PRIMARY.has(statement)) ? "apply" : "restart";
  }
  if (changed.some((statement) => DISK.has(statement))) return "restart";
  return changed.some((statement) => CONNECTION.has(statement)) ? "reconnect" : "apply";
}
