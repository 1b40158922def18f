/**
 * The statements of a configuration, in one table that both syntaxes and the printers share: in
 * which sections a statement may stand and what its value looks like. A new extension statement
 * is one more row.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import type { Setting, SettingName, Settings, SettingTypes } from "./ast.ts";
import { errorAt, type Place } from "./place.ts";
import {
  absolutePath,
  address,
  addressOrNone,
  choice,
  LISTEN_ADDRESSES_MAX,
  NAME_BYTES_MAX,
  onOrOff,
  PATH_BYTES_MAX,
  rate,
  seconds,
  SECRETS_MAX,
  text,
  type ValueForm,
} from "./values.ts";

/** The four places where settings may stand. */
export type SectionKind = "global" | "node" | "resource" | "resourceNode";

/** How errors call each kind of section. */
export const SECTION_TITLES: Readonly<Record<SectionKind, string>> = {
  global: "outside of all sections",
  node: "in a top-level 'on' section",
  resource: "in a 'resource' section",
  resourceNode: "in an 'on' section of a resource",
};

/** One row of the table. */
export interface Statement {
  readonly name: SettingName;
  /** Words in front of the value in hast.conf: one, or two as in `provider nbd`. */
  readonly words: readonly string[];
  /** Key in hast.toml. */
  readonly tomlKey: string;
  /** How TOML writes one value. */
  readonly tomlType: "string" | "integer" | "boolean";
  /** For errors: "expected ...". */
  readonly expected: string;
  readonly sections: readonly SectionKind[];
  /** The original does not know it. */
  readonly isExtension: boolean;
  /** Further ones add to the value instead of replacing it. */
  readonly isList: boolean;
  /** Why a word cannot be the value at all, or undefined if it may be one. */
  misfit(word: string): string | undefined;
  /** Puts a word into `settings`. Throws a ConfigError where it is out of range. */
  store(settings: Settings, word: string, place: Place): void;
  /** The words to print for what `settings` has; none where it has nothing. */
  printed(settings: Settings): string[];
}

interface Extras {
  words?: readonly string[];
  tomlKey?: string;
  isExtension?: boolean;
}

function scalar<N extends Exclude<SettingName, "listen" | "secret">>(
  name: N,
  sections: readonly SectionKind[],
  form: ValueForm<SettingTypes[N]>,
  extras: Extras = {},
): Statement {
  return {
    ...common(name, sections, form, extras),
    isList: false,
    store(settings, word, place) {
      const setting: Setting<SettingTypes[N]> = { value: form.read(word, place), place };
      Object.assign(settings, { [name]: setting });
    },
    printed(settings) {
      const setting = settings[name];
      return setting === undefined ? [] : [form.write(setting.value)];
    },
  };
}

/** A statement whose repetitions add to the value. */
function list(
  name: "listen" | "secret",
  sections: readonly SectionKind[],
  form: ValueForm<string>,
  { countMax, tooMany, ...extras }: Extras & { countMax: number; tooMany: string },
): Statement {
  return {
    ...common(name, sections, form, extras),
    isList: true,
    store(settings, word, place) {
      const value = [...settings[name]?.value ?? [], form.read(word, place)];
      if (value.length > countMax) throw errorAt(tooMany, place, `at most ${countMax}`);
      settings[name] = { value, place };
    },
    printed: (settings) => settings[name]?.value ?? [],
  };
}

function common<T>(
  name: SettingName,
  sections: readonly SectionKind[],
  form: ValueForm<T>,
  { words = [name], tomlKey = name, isExtension = false }: Extras,
) {
  const { tomlType, expected, misfit } = form;
  return { name, sections, words, tomlKey, tomlType, expected, misfit, isExtension };
}

const tuning = ["global", "resource"] as const;
const component = ["resource", "resourceNode"] as const;

/** Every statement, in the order in which the printers write them. */
export const STATEMENTS: readonly Statement[] = [
  scalar("control", ["global", "node"], address("control", "unix")),
  scalar(
    "pidfile",
    ["global", "node"],
    text("a path", PATH_BYTES_MAX, "pidfile argument is too long."),
  ),
  list("listen", ["global", "node"], address("listen", "both"), {
    countMax: LISTEN_ADDRESSES_MAX,
    tooMany: "Too many listen addresses.",
  }),
  scalar("replication", tuning, choice("fullsync", "memsync", "async")),
  scalar("checksum", tuning, choice("none", "crc32", "sha256")),
  scalar("compression", tuning, choice("none", "hole", "lzf")),
  scalar("timeout", tuning, seconds),
  scalar("exec", tuning, text("a path", PATH_BYTES_MAX, "Exec path is too long.")),
  scalar("metaflush", ["global", "resource", "resourceNode"], onOrOff),
  scalar("name", component, text("a name", NAME_BYTES_MAX, "name argument is too long.")),
  scalar("local", component, text("a path", PATH_BYTES_MAX, "local argument is too long.")),
  scalar("remote", ["resourceNode"], addressOrNone()),
  scalar("source", ["resourceNode"], address("source", "tcp")),
  scalar("providerNbd", component, address("provider nbd", "both"), {
    words: ["provider", "nbd"],
    tomlKey: "provider-nbd",
    isExtension: true,
  }),
  scalar("syncRate", tuning, rate, {
    words: ["sync-rate"],
    tomlKey: "sync-rate",
    isExtension: true,
  }),
  list("secret", tuning, absolutePath("secret"), {
    countMax: SECRETS_MAX,
    tooMany: "Too many secrets.",
    isExtension: true,
  }),
];
