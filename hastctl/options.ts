/**
 * The command line of hastctl: verbs, their options, and what is said about a wrong one.
 *
 * Source: hastctl(8); control.md, hastctl.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import { expandNumber } from "../base/units.ts";
import { getopt, type Option } from "../base/getopt.ts";

export const VERBS = [
  "create",
  "role",
  "list",
  "status",
  "dump",
  "config",
  "watch",
  "attach",
  "reload",
  "stop",
] as const;
export type Verb = typeof VERBS[number];

export const ROLES = ["init", "primary", "secondary"] as const;
export type RoleName = typeof ROLES[number];

/** The original's usage text, which goes to standard error: scripts and tests know it. */
export const USAGE = `\
usage: hastctl create [-d] [-c config] [-e extentsize] [-k keepdirty]
		[-m mediasize] name ...
       hastctl role [-d] [-c config] <init | primary | secondary> all | name ...
       hastctl list [-d] [-c config] [all | name ...]
       hastctl status [-d] [-c config] [all | name ...]
       hastctl dump [-d] [-c config] [all | name ...]
`;

/** What `--help` prints: the usage text and what this implementation adds. */
export const HELP = `${USAGE}\
       hastctl list | status --json [-d] [-c config] [all | name ...]
       hastctl config [-d] [-c config] [--toml]
       hastctl watch [-1d] [-c config] [all | name ...]
       hastctl attach [-d] [-c config] all | name ...
       hastctl reload [-dn] [-c config]
       hastctl stop [-d] [-c config]

list, status  with --json, print all that is known as one JSON document
config        check the configuration file and print what applies to this node;
              with --toml, print the file of both nodes as TOML
watch         show connections and synchronisations, every second; with -1, once
attach        bring local components back that failed and are out of service
reload        check the configuration file, make hastd read it and say what it
              did; with -n or --dry-run, only say what it would do
stop          end hastd and wait until it has ended

Every command also takes -n node, the name of this node instead of the host's.
`;

const CONFIG_PATH_DEFAULT = "/etc/hast.conf";
const KEEPDIRTY_MIN = -1n; // As the original, which takes it for no limit at all.
const KEEPDIRTY_MAX = 0x7fffffffn;

/** Options of verbs that have more than the others. */
const LETTERS: Partial<Record<Verb, string>> = { create: "c:de:hk:m:n:", watch: "1c:dhn:" };
const LONG_NAMES: Partial<Record<Verb, string[]>> = {
  config: ["toml"],
  list: ["json"],
  reload: ["dry-run"],
  status: ["json"],
};
const NAMES_NEEDED: readonly Verb[] = ["attach", "create", "role"];
const NAMES_UNWANTED: readonly Verb[] = ["config", "reload", "stop"];

/** A command line, understood. Sizes of 0 mean the default. */
export interface Invocation {
  verb: Verb;
  debugLevel: number;
  configPath: string;
  /** `-n`. */
  nodeName: string | undefined;
  /** `-e`, bytes. */
  extentSizeBytes: bigint;
  /** `-k`, extents. */
  keepdirtyCount: number;
  /** `-m`, bytes. */
  mediaSizeBytes: bigint;
  toml: boolean;
  json: boolean;
  /** `reload -n`. */
  dryRun: boolean;
  /** `watch -1`. */
  once: boolean;
  /** Of the verb `role`. */
  role: RoleName | undefined;
  /** Names of resources, or `all`. */
  names: string[];
}

/** The command line is wrong: `complaint` comes first, then the usage text where it helps. */
export class UsageError extends HastError {
  override name = "UsageError";
  readonly withUsage: boolean;
  constructor(complaint: string, withUsage: boolean) {
    super(EX.usage, complaint);
    this.withUsage = withUsage;
  }
}

/**
 * Understands the arguments of hastctl.
 *
 * @returns The invocation, or "help" where that was asked for.
 * @throws {UsageError} The command line is wrong.
 */
export function parseInvocation(args: readonly string[]): Invocation | "help" {
  if (args[0] === "--help") return "help";
  const verb = VERBS.find((known) => known === args[0]);
  if (verb === undefined) throw new UsageError("", true);
  const rest = verb === "reload" ? spellOutDryRun(args.slice(1)) : args.slice(1);
  const line = getopt(rest, LETTERS[verb] ?? "c:dhn:", ["help", ...LONG_NAMES[verb] ?? []]);
  const invocation = emptyInvocation(verb);
  for (const option of line.options) {
    if (option.name === "help") return "help";
    applyOption(invocation, option);
  }
  if (line.complaint !== undefined) throw new UsageError(line.complaint, true);
  takeOperands(invocation, line.operands);
  return invocation;
}

/**
 * In `reload`, which takes no names, `-n` with nothing behind it but options is no node: it asks for
 * a dry run, as it does in make(1) and many others.
 */
function spellOutDryRun(args: readonly string[]): string[] {
  return args.map((arg, index) => {
    const isAlone = /^-d*n$/.test(arg) && (args[index + 1] ?? "-").startsWith("-");
    return isAlone ? "--dry-run" : arg;
  });
}

function emptyInvocation(verb: Verb): Invocation {
  return {
    verb,
    debugLevel: 0,
    configPath: CONFIG_PATH_DEFAULT,
    nodeName: undefined,
    extentSizeBytes: 0n,
    keepdirtyCount: 0,
    mediaSizeBytes: 0n,
    toml: false,
    json: false,
    dryRun: false,
    once: false,
    role: undefined,
    names: [],
  };
}

function applyOption(invocation: Invocation, { name, value }: Option): void {
  switch (name) {
    case "c":
      invocation.configPath = value;
      break;
    case "d":
      invocation.debugLevel++;
      break;
    case "e":
      invocation.extentSizeBytes = signedNumber(value, "extentsize");
      break;
    case "k":
      invocation.keepdirtyCount = keepdirty(value);
      break;
    case "m":
      invocation.mediaSizeBytes = signedNumber(value, "mediasize");
      break;
    case "n":
      invocation.nodeName = value;
      break;
    case "toml":
      invocation.toml = true;
      break;
    case "json":
      invocation.json = true;
      break;
    case "dry-run":
      invocation.dryRun = true;
      break;
    case "1":
      invocation.once = true;
      break;
    default: // -h
      throw new UsageError("", true);
  }
}

/** A size as C's intmax_t holds it: a negative one is refused where it is used. */
function signedNumber(text: string, what: string): bigint {
  const number = expandNumber(text);
  if (number === undefined) throw new UsageError(`Invalid ${what}`, false);
  return BigInt.asIntN(64, number);
}

function keepdirty(text: string): number {
  const count = signedNumber(text, "keepdirty");
  if (count < KEEPDIRTY_MIN || count > KEEPDIRTY_MAX) {
    throw new UsageError("Invalid keepdirty", false);
  }
  return Number(count);
}

function takeOperands(invocation: Invocation, operands: readonly string[]): void {
  const { verb } = invocation;
  invocation.names = operands.slice();
  if (verb === "role") {
    invocation.role = ROLES.find((role) => role === operands[0]);
    if (invocation.role === undefined) throw new UsageError("", true);
    invocation.names.shift();
  }
  const missing = invocation.names.length === 0 && NAMES_NEEDED.includes(verb);
  const surplus = invocation.names.length > 0 && NAMES_UNWANTED.includes(verb);
  if (missing || surplus) throw new UsageError("", true);
}
