/**
 * hastctl as a program: each verb once as a process of its own, through the real streams.
 * @module
 */
import { assertEquals } from "@std/assert";
import { withFakeDaemon } from "./support/control_fake.ts";
import { type HastctlCase, readVectors, withFolder } from "./support/hastctl_run.ts";
import { type Result, run } from "./support/process.ts";

const PROGRAM = new URL("support/hastctl_main.ts", import.meta.url).pathname;

function runProgram(verb: string, ...args: string[]): Promise<Result> {
  return run(Deno.execPath(), "run", "-A", "--quiet", PROGRAM, verb, "-n", "nodea", ...args);
}

function writeConfig(folder: string): string {
  const path = `${folder}/hast.conf`;
  const resource = `resource data { local ${folder}/data.img on nodea { remote none } }`;
  Deno.writeTextFileSync(path, `control ${folder}/ctl\n${resource}\n`);
  return path;
}

Deno.test("the program creates and dumps", () =>
  withFolder(async (folder) => {
    Deno.writeFileSync(`${folder}/data.img`, new Uint8Array(1024 * 1024));
    const config = writeConfig(folder);
    const created = await runProgram("create", "-c", config, "data");
    assertEquals(created, { code: 0, stdout: "", stderr: "" });
    const dumped = await runProgram("dump", "-c", config, "data", "nosuch");
    assertEquals([dumped.code, dumped.stderr], [65, "[ERROR] Unknown resource nosuch.\n"]);
    assertEquals(dumped.stdout.split("\n").slice(0, 2), [
      "resource: data",
      "    datasize: 1043968 (1.0MB)",
    ]);
  }));

const asked = readVectors<{ hastctl: (HastctlCase & { reply_hex?: string })[] }>("control.json")
  .hastctl.filter(({ what }) =>
    ["list, primary and complete", "status of all, role init", "role of an unknown resource"]
      .includes(what)
  );

for (const vector of asked) {
  Deno.test(`the program asks the daemon: ${vector.what}`, () =>
    withFolder(async (folder) => {
      const config = writeConfig(folder);
      const [verb = "", ...args] = vector.argv.slice(1)
        .map((arg) => arg === "FILE" ? config : arg);
      const answer = { replyHex: vector.reply_hex ?? "" };
      const { result } = await withFakeDaemon(`${folder}/ctl`, answer, () => {
        return runProgram(verb, ...args);
      });
      const { exit_code: code, stdout, stderr } = vector;
      assertEquals(result, { code, stdout, stderr });
    }));
}

Deno.test("the program was tried with list, status and role", () => {
  assertEquals(asked.length, 3);
});

Deno.test("the program prints the configuration", () =>
  withFolder(async (folder) => {
    const printed = await runProgram("config", "-c", writeConfig(folder));
    assertEquals([printed.code, printed.stderr], [0, ""]);
    assertEquals(printed.stdout.includes(`local ${folder}/data.img`), true);
  }));
