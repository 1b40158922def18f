/**
 * A real secondary gets what the original's secondary was sent (protocol_errors.json), and answers
 * as that one did: to primaries with any counters, and to requests right and wrong.
 */
import { assert, assertEquals } from "@std/assert";
import { decodeMetadata, encodeMetadata } from "../../protocol/metadata.ts";
import { type Node, withCluster } from "../support/cluster.ts";
import type { Entry, Fields } from "../support/hast_wire.ts";
import { decodeHex } from "../support/hex.ts";
import { ScriptedPrimary } from "../support/scripted_primary.ts";
import {
  type Annotation,
  annotations,
  at,
  type Json,
  listAt,
  loadVector,
  textAt,
} from "../support/vectors.ts";
import { waitFor } from "../support/wait.ts";

const VECTORS = loadVector("protocol_errors");
const COMPONENT_BYTES = 16 * 1024 * 1024;
const METADATA_BYTES = 4096;
const MAP_BYTES = 512;
const RESUID = 1234605616436508552n;

/** A field as a text that compares, an array as its numbers. */
function textOf(value: bigint | string | Uint8Array | undefined): string {
  return String(value);
}

/** The entries of a recorded frame, by name. */
function recorded(frame: Json | undefined): Map<string, string> {
  assert(frame !== undefined, "the vector has that frame");
  const entries: Annotation[] = annotations(listAt(frame, "nv"));
  return new Map(entries.map(([name, , value]) => [name, value]));
}

/** Those of `fields` that the original sends, too, by name. */
function known(fields: Fields, expected: Map<string, string>): Map<string, string> {
  return new Map([...expected.keys()].map((name) => [name, textOf(fields.get(name))]));
}

/** Makes the component of a node one that was used, with these counters and this map. */
async function makeUsed(node: Node, count: bigint, mapStart: number): Promise<void> {
  using file = await Deno.open(node.componentPath, { read: true, write: true });
  const block = new Uint8Array(METADATA_BYTES);
  assertEquals(await file.read(block), block.length);
  const used = {
    resuid: RESUID,
    localcnt: count,
    remotecnt: count,
    prevrole: "secondary",
  } as const;
  await file.seek(0, Deno.SeekMode.Start);
  await file.write(encodeMetadata({ ...decodeMetadata(block), ...used }));
  await file.write(new Uint8Array([mapStart]));
}

/** The map as it was before it was packed. */
function unpacked(primary: ScriptedPrimary): Uint8Array {
  const { fields, data } = primary.answer;
  return fields.get("compression") === "hole" ? new Uint8Array(MAP_BYTES) : data;
}

function recordedMap(answer: Json): Uint8Array {
  const hex = at(answer, "data_hex");
  if (typeof hex !== "string") return new Uint8Array();
  return hex === "00020000" ? new Uint8Array(MAP_BYTES) : decodeHex(hex);
}

/** The last lines that say why, without those of a primary that goes away. */
function recordedReasons(name: string): string[] {
  return textAt(VECTORS, name, "log_of_node_b").split("\n")
    .filter((line) => /should never happen|mismatch/.test(line))
    .map((line) => line.replace("[data]", "[disk0]"));
}

async function hasLogged(node: Node, line: string): Promise<void> {
  await waitFor(line, () => node.log().includes(`${line}\n`));
}

interface Case {
  name: string;
  /** Both counters of the secondary, and the first byte of its map; without, it was never used. */
  used?: { count: bigint; mapStart: number };
}

const CASES: Case[] = [
  { name: "virgin_both" },
  ...["resuid_mismatch", "counts_equal", "primary_newer", "should_never_happen_1"]
    .map((name) => ({ name, used: { count: 0n, mapStart: 0 } })),
  ...["2_2", "2_3", "3_2", "3_3", "3_4", "4_3", "4_4"].map((counts) => ({
    name: `counts_secondary_3_3_primary_${counts}`,
    used: { count: 3n, mapStart: 0x81 },
  })),
];

for (const { name, used } of CASES) {
  Deno.test(`secondary, ${name}: the answer of the original`, () =>
    withCluster({ componentBytes: COMPONENT_BYTES }, async ({ b }) => {
      if (used !== undefined) await makeUsed(b, used.count, used.mapStart);
      await b.start();
      await b.role("secondary");
      const frames = listAt(VECTORS, name, "frames");
      const said = recorded(frames[2]);
      const identity: Entry[] = said.has("virgin") ? [["virgin", "int8", 1]] : [];
      for (const field of ["resuid", "localcnt", "remotecnt"]) {
        identity.push([field, "uint64", BigInt(said.get(field) ?? 0)]);
      }
      using primary = await ScriptedPrimary.attempt(b, identity);
      const expected = recorded(frames[3]);
      const { fields } = primary.answer;
      assertEquals(known(fields, expected), expected);
      for (const field of ["virgin", "errmsg"]) {
        assertEquals(fields.has(field), expected.has(field), field);
      }
      if (expected.has("size")) assertEquals(unpacked(primary), recordedMap(frames[3] ?? null));
      for (const line of recordedReasons(name)) {
        await hasLogged(b, line);
      }
    }));
}

/** The frames of an exchange, by the step that they belong to. */
function steps(name: string): { what: string; frames: Json[] }[] {
  const found: { what: string; frames: Json[] }[] = [];
  for (const json of listAt(VECTORS, name, "frames")) {
    const what = at(json, "step");
    if (typeof what === "string") found.push({ what, frames: [] });
    else found.at(-1)?.frames.push(json);
  }
  return found;
}

/** Sends the request of a step as recorded, and what came back: fields, or undefined for closed. */
async function replay(
  primary: ScriptedPrimary,
  [request, ...answers]: Json[],
): Promise<(Fields | undefined)[]> {
  assert(request !== undefined, "a step has a request");
  await primary.requests.send(decodeHex(textAt(request, "header_hex")));
  const data = at(request, "data_hex");
  if (typeof data === "string") await primary.requests.send(decodeHex(data));
  const received: (Fields | undefined)[] = [];
  for (const _ of answers) received.push(await primary.replies.receive());
  return received;
}

/** What the original did and this program does not; the reason is in the name. */
const DIFFERENT: Record<string, (received: Fields | undefined) => void> = {
  // 13.x and later send up to 1 MiB.
  "READ longer than 131072": (received) => assertEquals(received?.has("error"), false),
  // What the request does not bring is not made up.
  "WRITE with data shorter than length: the rest of the buffer is written": (received) =>
    assertEquals(received, undefined),
};

async function replaySteps(primary: ScriptedPrimary, name: string): Promise<void> {
  for (const { what, frames } of steps(name)) {
    const received = await replay(primary, frames);
    const differs = DIFFERENT[what];
    if (differs !== undefined) {
      differs(received[0]);
      continue;
    }
    for (const [index, answer] of frames.slice(1).entries()) {
      const expected = recorded(answer);
      const fields = received[index];
      assert(fields !== undefined, `${what}: answered`);
      assertEquals(known(fields, expected), expected, what);
      assertEquals(fields.size, expected.size, `${what}: no more than that`);
    }
  }
}

async function withPrimary(test: (primary: ScriptedPrimary, b: Node) => Promise<void>) {
  await withCluster({ componentBytes: COMPONENT_BYTES }, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    using primary = await ScriptedPrimary.connect(b);
    await test(primary, b);
  });
}

Deno.test("secondary, request_errors: each request gets the reply of the original, and its line", () =>
  withPrimary(async (primary, b) => {
    await replaySteps(primary, "request_errors");
    const lines = textAt(VECTORS, "request_errors", "log_of_node_b").trimEnd().split("\n")
      .filter((line) => line.startsWith("[ERROR]") && !line.includes("131584"))
      .map((line) => line.replace("[data]", "[disk0]"));
    assertEquals(lines.length, 7);
    for (const line of lines) {
      await hasLogged(b, line);
    }
  }));

Deno.test("secondary, no_seq: answered with number 0 and an error", () =>
  withPrimary((primary) => replaySteps(primary, "no_seq")));

Deno.test("secondary, write_error_desync: the error of the original, and no confusion", () =>
  withPrimary(async (primary) => {
    const [step] = steps("write_error_desync");
    assert(step !== undefined);
    const [reply] = await replay(primary, step.frames.slice(0, 2));
    assertEquals(reply?.get("error"), 22n);
    await replaySteps(primary, "no_seq");
  }));

for (const name of ["unknown_checksum", "unknown_compression", "too_much_data"]) {
  Deno.test(`secondary, ${name}: the connection ends, as with the original`, () =>
    withPrimary(async (primary, b) => {
      for (const { what, frames } of steps(name)) {
        const request = frames[0];
        assert(request !== undefined);
        await primary.requests.send(decodeHex(textAt(request, "header_hex")));
        await primary.requests.send(new Uint8Array(512).fill(0x68));
        assertEquals(await primary.replies.receive(), undefined, what);
      }
      await b.waitLog(/\[ERROR\] \[disk0\] \(secondary\) /);
    }));
}

Deno.test("secondary, unknown_command and no_command: an error where the original dies", () =>
  withPrimary(async (primary) => {
    for (const name of ["unknown_command", "no_command"]) {
      const [step] = steps(name);
      assert(step !== undefined);
      const [reply] = await replay(primary, step.frames.slice(0, 2));
      assertEquals(reply?.get("error"), 22n, name);
    }
    await replaySteps(primary, "no_seq");
  }));
