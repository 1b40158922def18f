import { assert, assertEquals, assertThrows } from "@std/assert";
import { HELP, parseInvocation, USAGE, UsageError } from "./options.ts";

function complaintOf(...args: string[]): string {
  const { message, withUsage } = assertThrows(() => parseInvocation(args), UsageError);
  return withUsage ? `${message}+usage` : message;
}

Deno.test("parseInvocation() understands every option of create", () => {
  const args = ["create", "-dd", "-c", "f", "-e", "64k", "-k7", "-m", "1g", "-n", "a", "x", "y"];
  assertEquals(parseInvocation(args), {
    verb: "create",
    debugLevel: 2,
    configPath: "f",
    nodeName: "a",
    extentSizeBytes: 65536n,
    keepdirtyCount: 7,
    mediaSizeBytes: 1073741824n,
    toml: false,
    json: false,
    dryRun: false,
    once: false,
    role: undefined,
    names: ["x", "y"],
  });
});

Deno.test("parseInvocation() takes the role off the names", () => {
  const invocation = parseInvocation(["role", "-n", "a", "secondary", "all"]);
  assert(invocation !== "help");
  assertEquals([invocation.role, invocation.names], ["secondary", ["all"]]);
  assertEquals(invocation.configPath, "/etc/hast.conf");
});

Deno.test("parseInvocation() rejects wrong command lines", () => {
  assertEquals(complaintOf(), "+usage");
  assertEquals(complaintOf("stat"), "+usage");
  assertEquals(complaintOf("constructor"), "+usage");
  assertEquals(complaintOf("role", "primary"), "+usage");
  assertEquals(complaintOf("role", "king", "x"), "+usage");
  assertEquals(complaintOf("create"), "+usage");
  assertEquals(complaintOf("config", "x"), "+usage");
  assertEquals(complaintOf("reload", "x"), "+usage");
  assertEquals(complaintOf("reload", "-n", "a", "x"), "+usage");
  assertEquals(complaintOf("stop", "now"), "+usage");
  assertEquals(complaintOf("attach"), "+usage");
  assertEquals(complaintOf("role", "-1", "primary", "x"), "illegal option -- 1+usage");
  assertEquals(complaintOf("role", "--json", "primary", "x"), "illegal option -- -+usage");
  assertEquals(complaintOf("status", "--dry-run"), "illegal option -- -+usage");
  assertEquals(complaintOf("status", "-n"), "option requires an argument -- n+usage");
  assertEquals(complaintOf("list", "--toml"), "illegal option -- -+usage");
  assertEquals(complaintOf("list", "-e", "1"), "illegal option -- e+usage");
  assertEquals(complaintOf("create", "-e", "x", "-z"), "Invalid extentsize");
  assertEquals(complaintOf("create", "-m", "16e", "x"), "Invalid mediasize");
});

Deno.test("parseInvocation() takes -n of reload for a dry run where no node follows", () => {
  const cases: [args: string[], dryRun: boolean, nodeName: string | undefined, path: string][] = [
    [[], false, undefined, "/etc/hast.conf"],
    [["-n"], true, undefined, "/etc/hast.conf"],
    [["--dry-run"], true, undefined, "/etc/hast.conf"],
    [["-n", "-c", "f"], true, undefined, "f"],
    [["-c", "f", "-dn"], true, undefined, "f"],
    [["-n", "nodea"], false, "nodea", "/etc/hast.conf"],
    [["-nnodea"], false, "nodea", "/etc/hast.conf"],
    [["-n", "nodea", "-c", "f", "-n"], true, "nodea", "f"],
    [["-n", "-n", "nodea"], true, "nodea", "/etc/hast.conf"],
  ];
  for (const [args, dryRun, nodeName, path] of cases) {
    const invocation = parseInvocation(["reload", ...args]);
    assert(invocation !== "help");
    assertEquals(
      [invocation.dryRun, invocation.nodeName, invocation.configPath],
      [dryRun, nodeName, path],
      args.join(" "),
    );
  }
});

Deno.test("parseInvocation() understands what the other additions take", () => {
  const parsed = (...args: string[]) => {
    const invocation = parseInvocation(args);
    assert(invocation !== "help");
    return [invocation.json, invocation.once, invocation.names];
  };
  assertEquals(parsed("status", "--json", "a"), [true, false, ["a"]]);
  assertEquals(parsed("list", "-d", "--json"), [true, false, []]);
  assertEquals(parsed("watch", "-1", "a", "b"), [false, true, ["a", "b"]]);
  assertEquals(parsed("watch"), [false, false, []]);
  assertEquals(parsed("attach", "all"), [false, false, ["all"]]);
  assertEquals(parsed("stop"), [false, false, []]);
});

Deno.test("parseInvocation() bounds keepdirty to what the metadata can hold", () => {
  for (const value of ["-2", "2147483648", "-0x80000001", "1t"]) {
    assertEquals(complaintOf("create", "-k", value, "x"), "Invalid keepdirty");
  }
  const invocation = parseInvocation(["create", "-k", "-1", "x"]);
  assert(invocation !== "help");
  assertEquals(invocation.keepdirtyCount, -1);
});

Deno.test("parseInvocation() answers help, which begins with the original's usage text", () => {
  assertEquals(parseInvocation(["--help"]), "help");
  assertEquals(parseInvocation(["config", "--help"]), "help");
  assert(HELP.startsWith(USAGE));
});
