/**
 * hast.conf texts with what the original made of them (tests/vectors/config.json, examples.json),
 * and an explicit list of where this program differs.
 */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError, EX } from "../base/errors.ts";
import type { Config } from "./config.ts";
import { parseConf } from "./parser.ts";
import { renderToml } from "./render.ts";
import { resolveConfig } from "./resolve.ts";
import { parseToml } from "./toml.ts";

interface ParsedResource {
  name: string;
  provname: string;
  localpath: string;
  remoteaddr: string;
  sourceaddr: string;
  exec: string;
  replication: string;
  checksum: string;
  compression: string;
  timeout: number;
  metaflush: number;
}
interface Parsed {
  control: string;
  pidfile: string;
  listen: string[];
  resources: ParsedResource[];
}
interface Case {
  what: string;
  text: string;
  parsed?: Parsed;
  error?: { exit_code: number; stderr: string };
}
interface Example {
  conf_file: string;
  parsed: Parsed;
}

const VECTORS = new URL("../tests/vectors/", import.meta.url);
const IDENTITY = {
  hostName: "nodea.example.org",
  shortName: "nodea",
  uuid: "01234567-89ab-cdef-0123-456789abcdef",
  hostid: "1234567890",
};

/** Case by case: where this program says something else than the original, and why. */
const DIFFERENCES: Readonly<Record<string, { error: string; why: string } | { why: string }>> = {
  "only comments and blank lines": {
    why: "a comment may end with the file; the original wants a newline after it",
  },
  "timeout overflows int: atoi": {
    error: "Negative or zero timeout.",
    why: "the original takes 4294967297 for 1",
  },
  "carriage returns": {
    error: "line 1 near '\\u{d}': syntax error (hast.conf:1:16: carriage return",
    why: "the original echoes unknown characters to stdout and goes on",
  },
  "quoted local path: the quotes are skipped": {
    error: `line 3 near '"': syntax error (hast.conf:3:9: values are written without quotes`,
    why: "the original echoes unknown characters to stdout and goes on",
  },
  "equals sign": {
    error: "line 1 near '=': syntax error (hast.conf:1:13: a value follows its keyword without '='",
    why: "the original echoes unknown characters to stdout and goes on",
  },
  "relative control path (would be taken as TCP address by proto_tcp)": {
    error: "Invalid control address run/ctl. (hast.conf:1:9: expected an absolute path",
    why: "the original fails only when it listens",
  },
};

function readJson(name: string): string {
  return Deno.readTextFileSync(new URL(name, VECTORS));
}

/** Our configuration in the words of the vectors. */
function asParsed(config: Config): Parsed {
  return {
    control: config.controlAddress,
    pidfile: config.pidfilePath,
    listen: config.listenAddresses,
    resources: config.resources.map((resource) => ({
      name: resource.name,
      provname: resource.providerName,
      localpath: resource.localPath,
      remoteaddr: resource.remoteAddress,
      sourceaddr: resource.sourceAddress ?? "",
      exec: resource.execPath ?? "",
      replication: resource.replication,
      checksum: resource.checksum,
      compression: resource.compression,
      timeout: resource.timeoutSeconds,
      metaflush: resource.metaflush ? 1 : 0,
    })),
  };
}

/** Drops the field of the vectors that repeats another one. */
function wanted(parsed: Parsed): Parsed {
  const resources = parsed.resources.map((resource) => {
    const { original_replication: _, ...rest } = { original_replication: "", ...resource };
    return rest;
  });
  return { ...parsed, resources };
}

/** The message of the original, with lines counted from 1. */
function words(stderr: string): string {
  return stderr.trim().replace("[ERROR] ", "").replace(
    /at line ([0-9]+) near/,
    (_, line) => `at line ${Number(line) + 1} near`,
  );
}

const { cases }: { cases: Case[] } = JSON.parse(readJson("config.json"));

Deno.test("config.json has all the cases that the differences name", () => {
  assertEquals(cases.length, 61);
  for (const what of Object.keys(DIFFERENCES)) assert(cases.some((item) => item.what === what));
});

for (const { what, text, parsed, error } of cases) {
  Deno.test(`parseConf() and resolveConfig() as the original: ${what}`, () => {
    const difference = DIFFERENCES[what];
    const run = () => resolveConfig(parseConf(text, "hast.conf"), IDENTITY);
    if (difference !== undefined && !("error" in difference)) {
      assertEquals(run().resources, []);
      return;
    }
    const message = difference?.error ?? (error === undefined ? undefined : words(error.stderr));
    if (message === undefined) {
      assert(parsed !== undefined);
      assertEquals(asParsed(run()), wanted(parsed));
      return;
    }
    const thrown = assertThrows(run, ConfigError);
    assertEquals(thrown.exitCode, error?.exit_code ?? EX.config);
    if (difference === undefined) assert(thrown.message.startsWith(message), thrown.message);
    assertStringIncludes(thrown.message, message);
    assert(/\(hast\.conf:[0-9]+:[0-9]+: [^)]{5,}/.test(thrown.message), thrown.message);
  });
}

const { examples }: { examples: Record<string, Example> } = JSON.parse(readJson("examples.json"));

for (const [name, { conf_file, parsed }] of Object.entries(examples)) {
  Deno.test(`the example ${name} means what it means to the original, also as TOML`, () => {
    const file = parseConf(readJson(conf_file), conf_file);
    const identity = { hostName: "nodea", shortName: "nodea" };
    assertEquals(asParsed(resolveConfig(file, identity)), wanted(parsed));
    const toml = parseToml(renderToml(file), "hast.toml");
    assertEquals(asParsed(resolveConfig(toml, identity)), wanted(parsed));
  });
}
