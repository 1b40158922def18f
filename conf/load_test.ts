import { assertEquals, assertThrows } from "@std/assert";
import { ConfigError, HastError } from "../base/errors.ts";
import { isTomlPath, loadConfig } from "./load.ts";
import { identityOfName } from "./node_identity.ts";

const NODE = identityOfName("n");

Deno.test("loadConfig() fails as hastd does where the file cannot be opened: exit 72", () => {
  const missing = "/nonexistent/hast.conf";
  const cases: [path: string, read: (path: string) => string, reason: string][] = [
    [missing, Deno.readTextFileSync, "No such file or directory"],
    [new URL(".", import.meta.url).pathname, Deno.readTextFileSync, "Is a directory"],
    [missing, () => {
      throw new Deno.errors.PermissionDenied("no");
    }, "Permission denied"],
    [missing, () => {
      throw new Error("broken");
    }, "broken"],
  ];
  for (const [path, read, reason] of cases) {
    const thrown = assertThrows(() => loadConfig(path, read, NODE), HastError);
    assertEquals(thrown.message, `Unable to open configuration file ${path}: ${reason}.`);
    assertEquals(thrown.exitCode, 72);
  }
});

Deno.test("loadConfig() picks the syntax by the ending of the name alone", () => {
  const control = (path: string, text: string) => loadConfig(path, () => text, NODE).controlAddress;
  assertEquals(control("/etc/hast.conf", "control /x"), "/x");
  assertEquals(control("/etc/hast", "control /x"), "/x");
  assertEquals(control("/etc/hast.toml", 'control = "/x"'), "/x");
  assertThrows(
    () => control("/etc/hast.conf", 'control = "/x"'),
    ConfigError,
    "/etc/hast.conf:1:9",
  );
  assertThrows(() => control("/etc/hast.toml", "control /x"), ConfigError, "/etc/hast.toml");
  assertEquals(["a.toml", "a.TOML", "toml", "a.toml.conf"].map(isTomlPath), [
    true,
    true,
    false,
    false,
  ]);
});
