import { assertEquals } from "@std/assert";
import type { ResourceConfig } from "./config.ts";
import { planReload, type Role } from "./reload.ts";

const CONFIG: ResourceConfig = {
  name: "data",
  providerName: "data",
  providerNbd: undefined,
  localPath: "/dev/da0",
  remoteAddress: "10.0.0.2",
  sourceAddress: undefined,
  replication: "memsync",
  checksum: "none",
  compression: "hole",
  timeoutSeconds: 20,
  execPath: undefined,
  metaflush: true,
  syncRateBytesPerSecond: 0,
  secretPaths: ["/a"],
};

/** Another value for every field, how hast.conf calls it, what it does to primary and secondary. */
const CHANGES: [Partial<ResourceConfig>, string, primary: string, secondary: string][] = [
  [{ providerName: "other" }, "name", "restart", "restart"],
  [{ providerNbd: "127.0.0.1" }, "provider nbd", "restart", "restart"],
  [{ localPath: "/dev/da1" }, "local", "restart", "restart"],
  [{ remoteAddress: "none" }, "remote", "reconnect", "restart"],
  [{ sourceAddress: "10.0.0.1" }, "source", "reconnect", "restart"],
  [{ replication: "async" }, "replication", "apply", "restart"],
  [{ checksum: "crc32" }, "checksum", "apply", "restart"],
  [{ compression: "lzf" }, "compression", "apply", "restart"],
  [{ timeoutSeconds: 5 }, "timeout", "apply", "restart"],
  [{ execPath: "/hook" }, "exec", "apply", "restart"],
  [{ metaflush: false }, "metaflush", "apply", "restart"],
  [{ syncRateBytesPerSecond: 1 }, "sync-rate", "apply", "apply"],
  [{ secretPaths: ["/a", "/b"] }, "secret", "reconnect", "restart"],
];

function actionOf(role: Role, changes: Partial<ResourceConfig>): [string, string[]] {
  const [plan] = planReload([{ config: CONFIG, role }], [{ ...CONFIG, ...changes }]);
  return [plan?.action ?? "", plan?.changed ?? []];
}

Deno.test("planReload() decides by role and by what has changed, for every statement", () => {
  const fields = CHANGES.flatMap(([changes]) => Object.keys(changes));
  assertEquals([...fields, "name"].sort(), Object.keys(CONFIG).sort());
  for (const [changes, statement, primary, secondary] of CHANGES) {
    assertEquals(actionOf("primary", changes), [primary, [statement]]);
    assertEquals(actionOf("secondary", changes), [secondary, [statement]]);
    assertEquals(actionOf("init", changes), [secondary, [statement]]);
  }
});

Deno.test("planReload() takes the action that the strongest of several changes needs", () => {
  const more = { metaflush: false, remoteAddress: "none" };
  assertEquals(actionOf("primary", more), ["reconnect", ["metaflush", "remote"]]);
  const all = { ...more, localPath: "/x" };
  assertEquals(actionOf("primary", all), ["restart", ["metaflush", "local", "remote"]]);
  assertEquals(
    actionOf("secondary", { syncRateBytesPerSecond: 1, timeoutSeconds: 2 })[0],
    "restart",
  );
});

Deno.test("planReload() names removed resources first, then the others in their new order", () => {
  const named = (name: string): ResourceConfig => ({ ...CONFIG, name });
  const current = ["a", "b", "c"].map((name) => ({ config: named(name), role: "init" as const }));
  const wanted = [named("d"), named("c"), { ...named("a"), metaflush: false }];
  assertEquals(planReload(current, wanted).map(({ name, action }) => `${name} ${action}`), [
    "b remove",
    "d add",
    "c nothing",
    "a restart",
  ]);
  assertEquals(planReload([], []), []);
});
