/**
 * `hastctl config`: what applies to this node, and the failures that hastd would have.
 * @module
 */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { loadConfig } from "../conf/load.ts";
import { identityOfName } from "../conf/node_identity.ts";
import { HELP, USAGE } from "../hastctl/options.ts";
import { type HastctlCase, readVectors, runHastctl, withFolder } from "./support/hastctl_run.ts";

const TEXT = `
timeout 7
resource data {
	local /dev/da0
	on nodea { remote tcp4://10.0.0.2 }
	on nodeb { remote tcp4://10.0.0.1 }
}
`;

function inForce(path: string, nodeName = "nodea") {
  return loadConfig(path, Deno.readTextFileSync, identityOfName(nodeName));
}

Deno.test("hastctl config prints what is in force on this node", () =>
  withFolder(async (folder) => {
    const path = `${folder}/hast.conf`;
    Deno.writeTextFileSync(path, TEXT);
    const { code, stdout, stderr } = await runHastctl("config", "-c", path);
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, "tcp4://10.0.0.2");
    assertStringIncludes(stdout, "timeout 7");
    assertEquals(stdout.includes("tcp4://10.0.0.1\n"), false);
    Deno.writeTextFileSync(`${folder}/printed.conf`, stdout);
    assertEquals(inForce(`${folder}/printed.conf`), inForce(path));
  }));

Deno.test("hastctl config --toml converts the file for all nodes", () =>
  withFolder(async (folder) => {
    const path = `${folder}/hast.conf`;
    Deno.writeTextFileSync(path, TEXT);
    const { code, stdout, stderr } = await runHastctl("config", "-c", path, "--toml");
    assertEquals([code, stderr], [0, ""]);
    Deno.writeTextFileSync(`${folder}/hast.toml`, stdout);
    for (const nodeName of ["nodea", "nodeb"]) {
      assertEquals(inForce(`${folder}/hast.toml`, nodeName), inForce(path, nodeName));
    }
    assertEquals((await runHastctl("config", "-c", `${folder}/hast.toml`)).code, 0);
  }));

Deno.test("hastctl config fails on a wrong file, with nothing on standard output", () =>
  withFolder(async (folder) => {
    const path = `${folder}/hast.conf`;
    Deno.writeTextFileSync(path, "timeout 0\n");
    for (const flags of [[], ["--toml"]]) {
      const { code, stdout, stderr } = await runHastctl("config", "-c", path, ...flags);
      assertEquals([code, stdout], [78, ""]);
      assertMatch(stderr, /^\[ERROR\] Negative or zero timeout\..*\n$/);
    }
  }));

Deno.test("hastctl config fails on another node's file", () =>
  withFolder(async (folder) => {
    const path = `${folder}/hast.conf`;
    Deno.writeTextFileSync(path, TEXT.replaceAll("nodea", "nodec"));
    const { code, stderr } = await runHastctl("config", "-c", path);
    assertEquals(code, 78);
    assertStringIncludes(stderr, "No resource data configuration for this node");
  }));

const { cases } = readVectors<{ cases: HastctlCase[] }>("cli.json");
for (const vector of cases.filter(({ what }) => what.startsWith("hastd missing config"))) {
  Deno.test(`hastctl config fails as hastd: ${vector.what}`, async () => {
    const path = vector.argv.at(-1) ?? "";
    assertEquals(await runHastctl("config", "-c", path), {
      code: vector.exit_code,
      stdout: vector.stdout,
      stderr: vector.stderr,
    });
  });
}

Deno.test("hastctl --help prints the usage and what is added, on standard output", async () => {
  assertEquals(await runHastctl("--help"), { code: 0, stdout: HELP, stderr: "" });
  assertEquals(await runHastctl("list", "--help"), { code: 0, stdout: HELP, stderr: "" });
  assertEquals(await runHastctl("config", "surplus"), { code: 64, stdout: "", stderr: USAGE });
});
