import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import type { ConfigFile } from "./ast.ts";
import { loadConfig } from "./load.ts";
import { identityOfName } from "./node_identity.ts";
import { parseToml } from "./toml.ts";

function read(text: string): ConfigFile {
  return parseToml(text, "f.toml");
}

function fails(text: string, ...parts: string[]): void {
  const { message } = assertThrows(() => read(text), ConfigError);
  for (const part of parts) assertStringIncludes(message, part);
}

const sample = (name: string) => Deno.readTextFileSync(new URL(name, import.meta.url));

Deno.test("hast.toml.sample means what hast.conf.sample means, on both nodes", () => {
  const files: Record<string, string> = {
    "/hast.conf": sample("hast.conf.sample"),
    "/HAST.TOML": sample("hast.toml.sample"),
  };
  const load = (path: string, node: string) =>
    loadConfig(path, (name) => files[name] ?? "", identityOfName(node));
  for (const node of ["nodea", "nodeb"]) {
    const config = load("/hast.conf", node);
    assertEquals(load("/HAST.TOML", node), config);
    assertEquals(config.resources.map((resource) => resource.name), ["data", "logs"]);
  }
  const [data] = load("/hast.conf", "nodea").resources;
  assertEquals(data?.providerNbd, "127.0.0.1:10809");
  assertEquals(data?.syncRateBytesPerSecond, 100 * 1024 * 1024);
});

Deno.test("parseToml() takes one listen address or a list", () => {
  assertEquals(read('listen = "a"').settings.listen?.value, ["a"]);
  assertEquals(read('listen = ["a", "b"]').settings.listen?.value, ["a", "b"]);
});

Deno.test("parseToml() takes one secret or two", () => {
  assertEquals(read('secret = "/a"').settings.secret?.value, ["/a"]);
  const file = read('[resource.r]\nsecret = ["/a", "/b"]');
  assertEquals(file.resources[0]?.settings.secret?.value, ["/a", "/b"]);
  fails('secret = ["/a", "/b", "/c"]', "Too many secrets. (f.toml: secret: at most 2)");
  fails('secret = "a"', "Invalid secret path a.");
});

Deno.test("parseToml() names the key that is unknown or stands in the wrong table", () => {
  fails('colour = "red"', "(f.toml: colour: unknown key; expected one of control, pidfile,");
  fails('local = "/x"', "f.toml: local: unknown key");
  fails('[resource.r]\nremote = "a"', "f.toml: resource.r.remote: unknown key", "provider-nbd");
  fails("[resource.r.on.n]\ntimeout = 3", "f.toml: resource.r.on.n.timeout: unknown key");
  fails('[resource."a/b".on."h.e"]\nx = 1', 'f.toml: resource."a/b".on."h.e".x: unknown key');
  fails('[on.n]\nreplication = "async"', "f.toml: on.n.replication: unknown key");
  fails("[__proto__]\nx = 1", "f.toml: __proto__: unknown key");
  fails("constructor = 1", "f.toml: constructor: unknown key");
});

Deno.test("parseToml() names the key whose value has the wrong type", () => {
  fails("control = 1", "f.toml: control: expected an address (TOML string), found the number 1");
  fails(
    'timeout = "20"',
    'timeout: expected a number of seconds (TOML integer), found the string "20"',
  );
  fails("sync-rate = 50", "sync-rate: expected a number of bytes per second, with k, M or G, or");
  fails("timeout = 1.5", "timeout: expected", "1.5");
  fails("timeout = inf", "timeout: expected");
  fails('metaflush = "on"', "metaflush: expected on or off (TOML boolean)");
  fails("listen = []", "listen: an empty list");
  fails('listen = ["a", 1]', "listen: expected an address");
  fails('exec = ["/a"]', "exec: expected a path (TOML string), found a list");
  fails("pidfile = 1979-05-27", "pidfile: expected a path (TOML string), found a date");
  fails("resource = 1", "f.toml: resource: expected a table, found the number 1");
  fails("[[resource]]\nx = 1", "f.toml: resource: expected a table, found a list");
  fails("on = 1979-05-27", "f.toml: on: expected a table, found a date");
  fails("[resource]\nr = 1", "f.toml: resource.r: expected a table");
});

Deno.test("parseToml() keeps the limits and the alphabet of hast.conf", () => {
  fails("timeout = 0", "Negative or zero timeout. (f.toml: timeout: expected 1 to");
  fails("timeout = -3", "Negative or zero timeout.");
  fails("timeout = 3000000", "Timeout is too long.");
  fails('replication = "sync"', "replication: expected fullsync, memsync or async; found 'sync'");
  fails('exec = "/a b"', "exec: expected a path; '/a b' has characters other than");
  fails('exec = ""', "exec: expected a path; found nothing");
  fails('exec = "none"', "'none' is a keyword");
  fails('exec = "/\\u001b"', "'/\\u{1b}' has characters");
  fails('listen = "10.0.0.256"', "Invalid listen address 10.0.0.256. (f.toml: listen:");
  fails('[resource.local]\nlocal = "/x"', "resource.local: expected a name; 'local' is a keyword");
  fails("[resource.12]\n", "resource.12: expected a name; found the number 12");
  fails('[resource.""]\n', "expected a name; found nothing");
  fails(`[resource.${"n".repeat(255)}]\n`, "Resource name is too long.");
  fails(`[on.${"n".repeat(256)}]\n`, "Node name is too long.");
  fails("#".repeat(1024 * 1024 + 1), "Configuration file is too large.");
});

Deno.test("parseToml() gives the line of what is no TOML", () => {
  fails("control = \n", "Unable to parse configuration file: syntax error. (f.toml:", "line ");
  fails("[resource.r]\n[resource.r]\n", "a key or table is defined a second time");
  fails(
    'timeout = 1\nexec = "/a"\ntimeout = 2',
    "(f.toml:3: timeout is defined a second time, first on line 1)",
  );
  fails("a = '\u001b[2J\n", "syntax error. (f.toml:");
});

Deno.test("parseToml() ends on deep nesting with a ConfigError", () => {
  fails(`a = ${"[".repeat(5_000)}`, "syntax error");
  fails(`a = ${"[".repeat(200)}${"]".repeat(200)}`, "f.toml: a: unknown key");
});

Deno.test("parseToml() bounds the keys of one table, and takes many tables", () => {
  const keys = Array.from({ length: 257 }, (_, index) => `k${index} = 1\n`).join("");
  fails(keys, "(f.toml:257: more than 256 keys in one table)");
  fails(`a = {${keys.replaceAll("\n", ",")}}`, "f.toml:1: more than 256 keys");
  read(`# ${"=".repeat(300)}\ntimeout = 1\n`);
  const tables = Array.from(
    { length: 2_000 },
    (_, index) =>
      `[resource.r${index}]\nlocal = "/dev/da${index}"\n[resource.r${index}.on.a]\nremote = "none"\n`,
  ).join("");
  assertEquals(read(tables).resources.length, 2_000);
});
