/**
 * Every hastctl case of cli.json: standard output, standard error and exit code to the byte.
 * @module
 */
import { assertEquals, assertMatch } from "@std/assert";
import { type HastctlCase, readVectors, runHastctl, withFolder } from "./support/hastctl_run.ts";

/** The folder in which the vectors were taken. */
const VECTOR_FOLDER = "/lab/ref/node/cli";
const COMPONENT_BYTES = 16 * 1024 * 1024;
/** Folders of tests lie deep on some systems: this is too long wherever it lies. */
const LONG_CONTROL = /^\[ERROR\] Unable to setup control connection to (\/x+): /;

/** What has to be there before a case runs, in the order of the file where a case needs none. */
const SETUPS: Record<string, (folder: string) => void | Promise<void>> = {
  "hastctl create, component is a directory": (folder) => Deno.mkdirSync(`${folder}/data.img`),
  "hastctl create, component is a socket": (folder) => leaveSocket(`${folder}/data.img`),
  "hastctl create, component is a character device without the disk ioctls": (folder) =>
    Deno.symlinkSync("/dev/null", `${folder}/data.img`),
  "hastctl dump before create": makeComponent,
  "hastctl create known and unknown": makeComponent,
  "hastctl create -d -d": makeComponent,
  "hastctl create again": makeInitialised,
  "hastctl dump": makeInitialised,
  "hastctl dump all": makeInitialised,
  "hastctl dump without name": makeInitialised,
  "hastctl dump -d": makeInitialised,
  "hastctl dump under another resource name": async (folder) => {
    await makeInitialised(folder);
    writeConfig(folder, { resource: "other" });
  },
  "hastctl dump, broken metadata (first byte 0x7f)": async (folder) => {
    await makeInitialised(folder);
    const file = Deno.openSync(`${folder}/data.img`, { write: true });
    file.writeSync(new Uint8Array([0x7f]));
    file.close();
  },
  "hastctl dump, file shorter than the metadata": (folder) =>
    Deno.writeFileSync(`${folder}/data.img`, new Uint8Array(100)),
  "hastctl status, socket file left over": (folder) => leaveSocket(`${folder}/ctl`),
  "hastctl status afterwards: the socket file is gone": (folder) => leaveSocket(`${folder}/ctl`),
  "hastctl status, control is a TCP address": (folder) =>
    writeConfig(folder, { control: "tcp4://127.0.0.1:99" }),
};

/** Where this program is meant to answer otherwise: it finds the mistake in the configuration. */
const DIFFERENCES: Record<string, { code: number; stderr: RegExp }> = {
  "hastctl status, control is a TCP address": {
    code: 78,
    stderr: /^\[ERROR\] .*tcp4:\/\/127\.0\.0\.1:99.*hast\.conf:1:9.*\n$/,
  },
};

function writeConfig(folder: string, change: { resource?: string; control?: string } = {}): void {
  Deno.writeTextFileSync(
    `${folder}/hast.conf`,
    `control ${change.control ?? `${folder}/ctl`}
listen tcp4://127.0.0.1
resource ${change.resource ?? "data"} {
	on nodea {
		local ${folder}/data.img
		remote tcp4://127.0.0.2
	}
}
`,
  );
}

function makeComponent(folder: string): void {
  Deno.writeFileSync(`${folder}/data.img`, new Uint8Array(0));
  Deno.truncateSync(`${folder}/data.img`, COMPONENT_BYTES);
}

async function makeInitialised(folder: string): Promise<void> {
  makeComponent(folder);
  assertEquals((await runHastctl("create", "-c", `${folder}/hast.conf`, "data")).code, 0);
}

/** The file of a socket that nobody listens on; under another name no version removes it. */
function leaveSocket(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.new` });
  Deno.renameSync(`${path}.new`, path);
  listener.close();
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function runCase(vector: HastctlCase): Promise<void> {
  await withFolder(async (folder) => {
    writeConfig(folder, { control: LONG_CONTROL.exec(vector.stderr)?.[1] });
    await SETUPS[vector.what]?.(folder);
    const here = (text: string) => text.replaceAll(VECTOR_FOLDER, folder);
    const result = await runHastctl(...vector.argv.slice(1).map(here));
    const difference = DIFFERENCES[vector.what];
    if (difference !== undefined) {
      assertEquals([result.code, result.stdout], [difference.code, ""]);
      assertMatch(result.stderr, difference.stderr);
      return;
    }
    assertEquals(result, {
      code: vector.exit_code,
      stdout: here(vector.stdout),
      stderr: here(vector.stderr),
    });
  });
}

const { cases } = readVectors<{ cases: (Partial<HastctlCase> & { what: string })[] }>("cli.json");
const taken = cases.filter((vector): vector is HastctlCase => vector.argv?.[0] === "hastctl");

for (const vector of taken) {
  const ignore = vector.what.includes("default config") && exists("/etc/hast.conf");
  const reason = ignore ? " (skipped: this host has an /etc/hast.conf)" : "";
  Deno.test({ name: `cli.json: ${vector.what}${reason}`, ignore, fn: () => runCase(vector) });
}

Deno.test("cli.json holds every case that is prepared here", () => {
  assertEquals(taken.length, 43);
  const known = new Set(taken.map(({ what }) => what));
  assertEquals(Object.keys(SETUPS).filter((what) => !known.has(what)), []);
});
