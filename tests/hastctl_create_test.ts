/**
 * `hastctl create` and `dump` on files and devices: metadata_create.json, examples.json, and what
 * the vectors do not show (locks, old content, full disks).
 * @module
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { closeComponent, openComponent } from "../ffi/block_device.ts";
import { Nv } from "../protocol/nv.ts";
import { decodeHex } from "./support/hex.ts";
import { type HastctlCase, readVectors, runHastctl, withFolder } from "./support/hastctl_run.ts";
import { testWith } from "./support/needs.ts";
import { runOk } from "./support/process.ts";

interface CreateCase extends HastctlCase {
  file_size: number;
  file_size_afterwards: number;
  first_64k_nonzero_sectors_hex?: Record<string, string>;
  dump: { exit_code: number; stdout: string; stderr: string };
}

const VECTOR_COMPONENT = "/lab/ref/node/meta/a/data.img";
const SHOWN_BYTES = 64 * 1024;
const TRAILER_BYTES = 16;
const MIB = 1024 * 1024;

/** Where the original ends by an assertion or makes what it cannot use: here a refusal, 65. */
const REFUSED: Record<string, string> = {
  "extentsize not a power of two": "Extent size (1536) is not a power of two.",
  "mediasize 4096 (nothing left)": "Component is too small (4096): at least 5120 bytes are needed.",
  "mediasize 4608 (nothing left after the map)":
    "Component is too small (4608): at least 5120 bytes are needed.",
  "empty file": "Component is too small (0): at least 5120 bytes are needed.",
};

function makeFile(path: string, sizeBytes: number): void {
  Deno.writeFileSync(path, new Uint8Array(0));
  Deno.truncateSync(path, sizeBytes);
}

function writeConfig(folder: string, resource = "data", local = `${folder}/data.img`): string {
  const path = `${folder}/hast.conf`;
  const node = `on nodea {\n\tlocal ${local}\n\tremote none\n}`;
  Deno.writeTextFileSync(path, `resource ${resource} {\n${node}\n}\n`);
  return path;
}

function readStart(path: string, byteCount: number): Uint8Array {
  const bytes = new Uint8Array(byteCount);
  const file = Deno.openSync(path);
  for (let at = 0; at < byteCount;) {
    const readBytes = file.readSync(bytes.subarray(at));
    if (readBytes === null) break;
    at += readBytes;
  }
  file.close();
  return bytes;
}

/** The first 64 KiB as the original left them. */
function vectorStart(sectors: Record<string, string>): Uint8Array {
  const bytes = new Uint8Array(SHOWN_BYTES);
  for (const [offset, hex] of Object.entries(sectors)) bytes.set(decodeHex(hex), Number(offset));
  return bytes;
}

/** Takes our addition behind the entries away, after a look at its magic. */
function withoutTrailer(start: Uint8Array): Uint8Array {
  const { entriesBytes } = Nv.decodePrefix(start.subarray(0, 4096));
  const at = Math.ceil((entriesBytes + 1) / 8) * 8;
  assertEquals(new TextDecoder().decode(start.subarray(at, at + 8)), "HASTsum1");
  return start.slice().fill(0, at, at + TRAILER_BYTES);
}

async function runCase(vector: CreateCase): Promise<void> {
  await withFolder(async (folder) => {
    const component = `${folder}/data.img`;
    makeFile(component, vector.file_size);
    const config = writeConfig(folder, vector.argv.at(-1));
    const args = vector.argv.slice(1).map((arg) => arg === "FILE" ? config : arg);
    const created = await runHastctl(...args);
    const refusal = REFUSED[vector.what];
    if (refusal !== undefined) {
      assertEquals(created, { code: 65, stdout: "", stderr: `[ERROR] [data] ${refusal}\n` });
      assert(readStart(component, SHOWN_BYTES).every((byte) => byte === 0));
      assertEquals(Deno.statSync(component).size, vector.file_size);
      return;
    }
    const { exit_code: code, stdout, stderr } = vector;
    assertEquals(created, { code, stdout, stderr });
    assertEquals(Deno.statSync(component).size, vector.file_size_afterwards);
    const start = readStart(component, SHOWN_BYTES);
    const sectors = vector.first_64k_nonzero_sectors_hex;
    if (sectors === undefined) assert(start.every((byte) => byte === 0));
    else assertEquals(withoutTrailer(start), vectorStart(sectors));
    assertEquals(await runHastctl("dump", "-c", config), {
      code: vector.dump.exit_code,
      stdout: vector.dump.stdout,
      stderr: vector.dump.stderr.replaceAll(VECTOR_COMPONENT, component),
    });
  });
}

const { cases } = readVectors<{ cases: CreateCase[] }>("metadata_create.json");
for (const vector of cases) {
  Deno.test(`metadata_create.json: ${vector.what}`, () => runCase(vector));
}

Deno.test("metadata_create.json holds every case that is refused here", () => {
  const known = new Set(cases.map(({ what }) => what));
  assertEquals(Object.keys(REFUSED).filter((what) => !known.has(what)), []);
});

interface Example {
  conf_file: string;
  hastctl_dump: string;
  parsed: { resources: { name: string; localpath: string }[] };
}

const { examples } = readVectors<{ examples: Record<string, Example> }>("examples.json");
for (const [name, { conf_file, hastctl_dump, parsed }] of Object.entries(examples)) {
  Deno.test(`examples.json: dump of ${name}`, () =>
    withFolder(async (folder) => {
      const here = (text: string) => text.replaceAll("/lab/ref/node/examples", folder);
      const text = Deno.readTextFileSync(new URL(`vectors/${conf_file}`, import.meta.url));
      Deno.writeTextFileSync(`${folder}/hast.conf`, here(text));
      for (const { localpath } of parsed.resources) makeFile(here(localpath), 16 * MIB);
      const names = parsed.resources.map(({ name }) => name);
      const created = await runHastctl("create", "-c", `${folder}/hast.conf`, ...names);
      assertEquals(created, { code: 0, stdout: "", stderr: "" });
      const dumped = await runHastctl("dump", "-c", `${folder}/hast.conf`, "all");
      assertEquals(dumped, { code: 0, stdout: hastctl_dump, stderr: "" });
    }));
}

Deno.test("hastctl create clears the whole map and leaves the data alone", () =>
  withFolder(async (folder) => {
    const component = `${folder}/data.img`;
    const sizeBytes = 5 * 1024 * MIB; // With extents of 512 bytes: 1.25 MiB of map.
    const oldBytes = 2 * MIB;
    Deno.writeFileSync(component, new Uint8Array(oldBytes).fill(0xa5));
    Deno.truncateSync(component, sizeBytes);
    const config = writeConfig(folder);
    assertEquals((await runHastctl("create", "-c", config, "-e", "512", "data")).code, 0);
    const { stdout } = await runHastctl("dump", "-c", config);
    const dataAt = Number(/localoff: (\d+)/.exec(stdout)?.[1]);
    assertEquals(dataAt, 4096 + Math.ceil((sizeBytes - 4096) / 512 / 8 / 512) * 512);
    const bytes = withoutTrailer(readStart(component, oldBytes));
    assert(bytes.subarray(512, dataAt).every((byte) => byte === 0));
    assert(bytes.subarray(dataAt).every((byte) => byte === 0xa5));
  }));

Deno.test("hastctl create refuses a component that another process has locked", () =>
  withFolder(async (folder) => {
    const component = `${folder}/data.img`;
    Deno.writeFileSync(component, new Uint8Array(MIB).fill(0xa5));
    const config = writeConfig(folder);
    const holder = openComponent(component);
    const locked = await runHastctl("create", "-c", config, "data");
    closeComponent(holder);
    assertEquals([locked.code, locked.stdout], [66, ""]);
    assertMatch(locked.stderr, /^\[ERROR\] \[data\] Unable to lock \S+: .* has it locked\.\n$/);
    assert(Deno.readFileSync(component).every((byte) => byte === 0xa5));
    assertEquals((await runHastctl("create", "-c", config, "data")).code, 0);
  }));

Deno.test("hastctl dump reads a component that a daemon has locked", () =>
  withFolder(async (folder) => {
    makeFile(`${folder}/data.img`, MIB);
    const config = writeConfig(folder);
    assertEquals((await runHastctl("create", "-c", config, "data")).code, 0);
    const holder = openComponent(`${folder}/data.img`);
    const dumped = await runHastctl("dump", "-c", config);
    closeComponent(holder);
    assertEquals([dumped.code, dumped.stderr], [0, ""]);
  }));

Deno.test("hastctl dump tells torn metadata from none", () =>
  withFolder(async (folder) => {
    const component = `${folder}/data.img`;
    makeFile(component, MIB);
    const config = writeConfig(folder);
    assertEquals((await runHastctl("create", "-c", config, "data")).code, 0);
    const bytes = Deno.readFileSync(component);
    bytes[48] = (bytes[48] ?? 0) ^ 1; // In the data size.
    Deno.writeFileSync(component, bytes);
    const dumped = await runHastctl("dump", "-c", config);
    assertEquals([dumped.code, dumped.stdout], [255, ""]);
    assertMatch(dumped.stderr, /^\[ERROR\] Metadata read from \S+ is invalid: .*checksum.*\.\n$/);
  }));

Deno.test("hastctl create goes on after a failure and answers with the first one", () =>
  withFolder(async (folder) => {
    makeFile(`${folder}/data.img`, MIB);
    const config = writeConfig(folder);
    const created = await runHastctl("create", "-c", config, "-m", "2m", "data", "nosuch");
    const size = `Media size (2097152) is larger than ${folder}/data.img (${MIB}).`;
    assertEquals(created, {
      code: 65,
      stdout: "",
      stderr: `[ERROR] [data] ${size}\n[ERROR] Unknown resource nosuch.\n`,
    });
  }));

/** Runs `body` in a file system of 64 KiB. */
async function withSmallFileSystem(folder: string, body: (mounted: string) => Promise<void>) {
  const mounted = `${folder}/small`;
  Deno.mkdirSync(mounted);
  await runOk("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mounted);
  try {
    await body(mounted);
  } finally {
    await runOk("umount", mounted);
  }
}

testWith(
  ["root", "linux"],
  "hastctl create reports a full file system, exit code 74",
  () =>
    withFolder((folder) =>
      withSmallFileSystem(folder, async (mounted) => {
        const component = `${mounted}/data.img`;
        makeFile(component, MIB);
        Deno.writeFileSync(`${mounted}/filler`, new Uint8Array(64 * 1024));
        const created = await runHastctl(
          "create",
          "-c",
          writeConfig(folder, "data", component),
          "data",
        );
        const where = `Unable to write metadata to ${component}`;
        const stderr = `[ERROR] [data] ${where}: No space left on device.\n`;
        assertEquals(created, { code: 74, stdout: "", stderr });
      })
    ),
);

testWith(
  ["root", "linux"],
  "hastctl create leaves no metadata when it cannot clear the map",
  () =>
    withFolder((folder) =>
      withSmallFileSystem(folder, async (mounted) => {
        const component = `${mounted}/data.img`;
        makeFile(component, MIB);
        const config = writeConfig(folder, "data", component);
        assertEquals((await runHastctl("create", "-c", config, "data")).code, 0);
        Deno.truncateSync(component, 4096); // Only the metadata has its page.
        Deno.truncateSync(component, MIB);
        Deno.writeFileSync(`${mounted}/filler`, new Uint8Array(60 * 1024));
        const created = await runHastctl("create", "-c", config, "data");
        const where = `Unable to clear the activemap of ${component}`;
        const stderr = `[ERROR] [data] ${where}: No space left on device.\n`;
        assertEquals(created, { code: 74, stdout: "", stderr });
        const dumped = await runHastctl("dump", "-c", config);
        assertEquals(dumped.code, 255);
        assertMatch(dumped.stderr, /Unable to read metadata from \S+: No such file or directory\./);
      })
    ),
);

testWith(
  ["root", "loop"],
  "hastctl create and dump work on a block device",
  () =>
    withFolder(async (folder) => {
      makeFile(`${folder}/backing.img`, 16 * MIB);
      const args = ["-f", "--show", "--sector-size", "4096", `${folder}/backing.img`];
      const device = (await runOk("losetup", ...args)).trim();
      try {
        const config = writeConfig(folder, "data", device);
        const created = await runHastctl("create", "-c", config, "data");
        assertEquals(created, { code: 0, stdout: "", stderr: "" });
        const { code, stdout } = await runHastctl("dump", "-c", config);
        assertEquals(code, 0);
        assertMatch(stdout, /datasize: 16769024 .*localoff: 8192\n/s); // A map of one 4k sector.
        const small = await runHastctl("create", "-c", config, "-e", "512", "data");
        const words = "Extent size (512) is less than sector size (4096).";
        assertEquals(small, { code: 65, stdout: "", stderr: `[ERROR] [data] ${words}\n` });
      } finally {
        await runOk("losetup", "-d", device);
      }
    }),
);
