import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import type { ResourceConfig } from "./config.ts";
import { acceptableNodeNames, identityOfName, isThisNode } from "./node_identity.ts";
import { parseConf } from "./parser.ts";
import { resolveConfig } from "./resolve.ts";

/** Two values of each setting that a resource inherits, and where they may be written. */
interface Inherited {
  /** Levels at which it may stand, the outermost first. */
  levels: readonly ("global" | "resource" | "node")[];
  statement: string;
  field: keyof ResourceConfig;
  values: readonly [string, string, string];
  read: readonly unknown[];
  byDefault: unknown;
}

const gr = ["global", "resource"] as const;
const rn = ["resource", "node"] as const;
const words = (...values: [string, string, string]) => ({ values, read: values });

const INHERITED: Inherited[] = [
  {
    levels: gr,
    statement: "replication",
    field: "replication",
    ...words("async", "fullsync", "memsync"),
    byDefault: "memsync",
  },
  {
    levels: gr,
    statement: "checksum",
    field: "checksum",
    ...words("crc32", "sha256", "none"),
    byDefault: "none",
  },
  {
    levels: gr,
    statement: "compression",
    field: "compression",
    ...words("lzf", "none", "hole"),
    byDefault: "hole",
  },
  {
    levels: gr,
    statement: "timeout",
    field: "timeoutSeconds",
    values: ["7", "8", "9"],
    read: [7, 8, 9],
    byDefault: 20,
  },
  {
    levels: gr,
    statement: "exec",
    field: "execPath",
    ...words("/a", "/b", "/c"),
    byDefault: undefined,
  },
  {
    levels: ["global", "resource", "node"],
    statement: "metaflush",
    field: "metaflush",
    values: ["off", "on", "off"],
    read: [false, true, false],
    byDefault: true,
  },
  {
    levels: rn,
    statement: "name",
    field: "providerName",
    ...words("p1", "p2", "p3"),
    byDefault: "r",
  },
  {
    levels: rn,
    statement: "provider nbd",
    field: "providerNbd",
    ...words("1.1.1.1", "1.1.1.2", "1.1.1.3"),
    byDefault: undefined,
  },
  {
    levels: gr,
    statement: "sync-rate",
    field: "syncRateBytesPerSecond",
    values: ["50M", "none", "7k"],
    read: [52428800, 0, 7168],
    byDefault: 0,
  },
  {
    levels: gr,
    statement: "secret",
    field: "secretPaths",
    values: ["/a", "/b\nsecret /c", "/d"],
    read: [["/a"], ["/b", "/c"], ["/d"]],
    byDefault: [],
  },
  {
    levels: rn,
    statement: "local",
    field: "localPath",
    ...words("/a", "/b", "/c"),
    byDefault: "/zero",
  },
];

/** A file that sets `statement` at some levels, to values by level. */
function textWith(item: Inherited, set: readonly (string | undefined)[]): string {
  const at = (level: string) => {
    const value = set[item.levels.findIndex((name) => name === level)];
    return value === undefined ? "" : `${item.statement} ${value}\n`;
  };
  const local = item.statement === "local" ? "" : "local /zero\n";
  const needsLocal = item.statement === "local" && set.every((value) => value === undefined);
  return `${at("global")}resource r {\n${needsLocal ? "local /zero\n" : local}${at("resource")}` +
    `on here {\nremote none\n${at("node")}}\non there {\nremote none\n}\n}\n`;
}

for (const item of INHERITED) {
  Deno.test(`resolveConfig() inherits ${item.statement}: every combination of levels`, () => {
    for (let mask = 0; mask < 1 << item.levels.length; mask++) {
      const set = item.levels.map((_, level) =>
        (mask & (1 << level)) === 0 ? undefined : item.values[level]
      );
      const innermost = set.findLastIndex((value) => value !== undefined);
      const [resource] = resolveConfig(
        parseConf(textWith(item, set), "f"),
        identityOfName("here"),
      ).resources;
      const wanted = innermost === -1 ? item.byDefault : item.read[innermost];
      assertEquals(resource?.[item.field], wanted, `levels ${mask.toString(2)}`);
    }
  });
}

function resolve(text: string, node = "here") {
  return resolveConfig(parseConf(text, "f"), identityOfName(node));
}

Deno.test("resolveConfig() gives each node its own sections, and nothing of the others", () => {
  const text =
    "control /c\non here {\ncontrol /h\nlisten 1.1.1.1\n}\non there {\nlisten 2.2.2.2\n}\n" +
    "resource r {\nlocal /l\non here {\nremote a\nsource b\n}\non there {\nremote b\nlocal /t\n}\n}\n";
  const here = resolve(text);
  const there = resolve(text, "there");
  assertEquals([here.controlAddress, there.controlAddress], ["/h", "/c"]);
  assertEquals([here.listenAddresses, there.listenAddresses], [["1.1.1.1"], ["2.2.2.2"]]);
  assertEquals(here.resources[0]?.sourceAddress, "b");
  assertEquals(there.resources[0]?.sourceAddress, undefined);
  assertEquals([here.resources[0]?.localPath, there.resources[0]?.localPath], ["/l", "/t"]);
});

Deno.test("resolveConfig() listens on the defaults only where the file says nothing", () => {
  assertEquals(resolve("").listenDefaulted, true);
  assertEquals(resolve("on there {\nlisten 1.1.1.1\n}").listenDefaulted, true);
  assertEquals(resolve("listen 1.1.1.1").listenDefaulted, false);
});

Deno.test("resolveConfig() does not hand out the same list twice", () => {
  resolve("").listenAddresses.push("x");
  assertEquals(resolve("").listenAddresses.length, 2);
});

Deno.test("resolveConfig() says which resource lacks what, and where", () => {
  const fails = (text: string, ...parts: string[]) => {
    const { message } = assertThrows(() => resolve(text), ConfigError);
    for (const part of parts) assertStringIncludes(message, part);
  };
  fails(
    "resource r {\nlocal /l\non here {\n}\n}",
    "Remote address not configured for resource r. (f:3:1: add 'remote",
  );
  fails(
    "resource r {\non there {\nlocal /l\nremote none\n}\n}",
    "No resource r configuration for this node (acceptable node names: here). (f:1:1",
    "sections for there",
  );
  fails(
    "resource a {\nlocal /l\non here {\nremote none\n}\n}\nresource a {\n}",
    "Resource a configured more than once. (f:7:1: the first one is at f:1:1)",
  );
});

Deno.test("acceptableNodeNames() and isThisNode() follow hastd", () => {
  const full = {
    hostName: "a.example.org",
    shortName: "a",
    uuid: "0123ABCD-0000-0000-0000-000000000001",
    hostid: "42",
  };
  assertEquals(acceptableNodeNames(full), ["a", "a.example.org", full.uuid, "hostid42"]);
  assertEquals(acceptableNodeNames(identityOfName("b")), ["b"]);
  assertEquals(acceptableNodeNames(identityOfName("b.c")), ["b", "b.c"]);
  const table: [string, boolean][] = [
    ["a", true],
    ["a.example.org", true],
    ["a.example", false],
    ["A", false],
    ["0123abcd-0000-0000-0000-000000000001", true],
    ["0123abcd000000000000000000000001", true],
    ["hostid42", true],
    ["hostid042", false],
    ["42", false],
  ];
  for (const [name, mine] of table) assertEquals(isThisNode(full, name), mine, name);
});
