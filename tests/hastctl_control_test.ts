/**
 * hastctl against a stand-in for hastd that replays what the original daemon answered
 * (control.json, examples.json): request bytes, output, exit code.
 * @module
 */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { HastError } from "../base/errors.ts";
import { exchange } from "../hastctl/control_client.ts";
import { encodeStatusReply } from "../protocol/control_reply.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { Nv } from "../protocol/nv.ts";
import { withFakeDaemon } from "./support/control_fake.ts";
import { encodeHex } from "./support/hex.ts";
import { type HastctlCase, readVectors, runHastctl, withFolder } from "./support/hastctl_run.ts";
import type { Result } from "./support/process.ts";
import { within } from "./support/wait.ts";

interface ControlCase extends HastctlCase {
  request_hex?: string;
  reply_hex?: string;
}

/** The build that made the vectors says this; ours does not drop privileges here. */
const PRIVILEGES_LINE = "[DEBUG][1] Privileges successfully dropped using jail+setgid+setuid.\n";
const REQUEST = new Nv().addU8("cmd", 2).addString("resource0", "all");

function writeConfig(folder: string): string {
  const path = `${folder}/hast.conf`;
  Deno.writeTextFileSync(path, `control ${folder}/ctl\n`);
  return path;
}

function controlTest(
  name: string,
  replyHex: string,
  body: (configPath: string) => Promise<Result>,
  check: (result: Result, requestHex: string) => void,
): void {
  Deno.test(name, () =>
    withFolder(async (folder) => {
      const configPath = writeConfig(folder);
      const answer = { replyHex };
      const { result, requestHex } = await withFakeDaemon(`${folder}/ctl`, answer, () => {
        return body(configPath);
      });
      check(result, requestHex);
    }));
}

for (const vector of readVectors<{ hastctl: ControlCase[] }>("control.json").hastctl) {
  controlTest(
    `control.json: ${vector.what}`,
    vector.reply_hex ?? "",
    (configPath) =>
      runHastctl(...vector.argv.slice(1).map((arg) => arg === "FILE" ? configPath : arg)),
    (result, requestHex) => {
      assertEquals(result, {
        code: vector.exit_code,
        stdout: vector.stdout.replace(PRIVILEGES_LINE, ""),
        stderr: vector.stderr,
      });
      // The padding of names is zero in these vectors, as it is in ours.
      assertEquals(requestHex, vector.request_hex ?? "");
    },
  );
}

interface ParsedResource {
  name: string;
  provname: string;
  localpath: string;
  remoteaddr: string;
  sourceaddr: string;
  replication: string;
  checksum: string;
  compression: string;
}

interface Example {
  parsed: { resources: ParsedResource[] };
  hastctl_list_role_init: string;
  hastctl_status_role_init: string;
}

/** What a daemon answers that has these resources, all in role init. */
function initReplyHex(resources: ParsedResource[]): string {
  const replies = resources.map(({ name, sourceaddr, ...rest }) => ({
    ...rest,
    resource: name,
    error: 0,
    sourceaddr: sourceaddr === "" ? undefined : sourceaddr,
    role: "init",
    workerpid: 0,
    worker: undefined,
  }));
  return frameHex(encodeStatusReply({ error: 0, resources: replies }));
}

const { examples } = readVectors<{ examples: Record<string, Example> }>("examples.json");
for (const [name, example] of Object.entries(examples)) {
  for (const verb of ["list", "status"] as const) {
    controlTest(
      `examples.json: ${verb} of ${name}`,
      initReplyHex(example.parsed.resources),
      (configPath) => runHastctl(verb, "-c", configPath),
      (result) => {
        assertEquals(result, { code: 0, stdout: example[`hastctl_${verb}_role_init`], stderr: "" });
      },
    );
  }
}

function frameHex(nv: Nv): string {
  return encodeHex(encodeFrame(2, nv));
}

/** Replies that are no answer, with the exit code and a part of what is said about it. */
const BAD_REPLIES: [what: string, replyHex: string, code: number, words: string][] = [
  ["refusal", frameHex(new Nv().addI16("error", 4)), 70, "Error 4 received from hastd.\n"],
  ["closed connection", "", 71, "Unable to receive a reply from hastd via "],
  ["cut reply", "0234000000110a", 71, "Unable to receive a reply from hastd via "],
  ["oversized reply", "02ffffffff", 70, "Invalid reply received from hastd: "],
  ["newer version", "0316000000", 70, "Invalid reply received from hastd: "],
  ["broken block", "0208000000ffffffffffffffff", 70, "Invalid reply received from hastd: "],
  [
    "figure beyond 2^53",
    frameHex(
      new Nv().addString("resource0", "x").addString("status0", "complete")
        .addU64("dirty0", 1n << 60n),
    ),
    70,
    "Invalid reply received from hastd: ",
  ],
];

for (const [what, replyHex, code, words] of BAD_REPLIES) {
  controlTest(
    `hastctl list reports a ${what}`,
    replyHex,
    (configPath) => runHastctl("list", "-c", configPath),
    (result) => {
      assertEquals([result.code, result.stdout], [code, ""]);
      assertStringIncludes(result.stderr, `[ERROR] ${words}`);
    },
  );
}

controlTest(
  "hastctl status never turns an error number into success",
  frameHex(new Nv().addString("resource0", "x").addI16("error0", 256)),
  (configPath) => runHastctl("status", "-c", configPath, "x"),
  (result) => assertEquals([result.code, result.stderr], [255, ""]),
);

Deno.test("exchange() gives up when the daemon does not answer in time", () =>
  withFolder(async (folder) => {
    const answer = { replyHex: "02", keepOpen: true };
    const { result } = await withFakeDaemon(`${folder}/ctl`, answer, () => {
      const asked = exchange(`${folder}/ctl`, REQUEST, { timeoutMs: 50 });
      return assertRejects(() => within("exchange() ends", asked), HastError);
    });
    assertEquals(result.exitCode, 71);
    assertStringIncludes(result.message, ": Operation timed out.");
  }));

Deno.test("exchange() refuses addresses that are no path of a socket, in the original's words", async () => {
  const long = `/${"x".repeat(200)}`;
  const cases = [
    ["tcp4://127.0.0.1:99", "Invalid argument"],
    ["bogus://x", "Invalid argument"],
    [long, "File name too long"],
  ] as const;
  for (const [address, reason] of cases) {
    const error = await assertRejects(() => exchange(address, REQUEST), HastError);
    assertEquals(error.exitCode, 71);
    assertEquals(error.message, `Unable to setup control connection to ${address}: ${reason}.`);
  }
});

Deno.test("exchange() takes addresses with a scheme and names them as they were written", () =>
  withFolder(async (folder) => {
    for (const scheme of ["uds://", "unix://"]) {
      const replyHex = frameHex(new Nv().addI16("error", 0));
      const { result } = await withFakeDaemon(`${folder}/ctl`, { replyHex }, () => {
        return exchange(`${scheme}${folder}/ctl`, REQUEST);
      });
      assertEquals(result.i16("error"), 0);
      const gone = () => exchange(`${scheme}${folder}/ctl`, REQUEST);
      const error = await assertRejects(gone, HastError);
      assertStringIncludes(error.message, `via ${scheme}${folder}/ctl: No such file`);
    }
  }));
