/**
 * How values are written in a configuration: words of hast.conf, their checks and limits.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import { addressProblem } from "./address.ts";
import { errorAt, type Place, shown } from "./place.ts";

/** Limits in bytes; a word is ASCII, so its length is its size. Source: conf.md. */
export const ADDRESS_BYTES_MAX = 1023;
export const PATH_BYTES_MAX = 1023;
export const NAME_BYTES_MAX = 254;
/** Ours: timers and poll(2) count milliseconds in 31 bits. The original lets the int overflow. */
export const TIMEOUT_SECONDS_MAX = 2_147_483;
/** Ours: as many sockets as anybody could mean. */
export const LISTEN_ADDRESSES_MAX = 256;
/** Ours: the one in use and the one that takes its place. */
export const SECRETS_MAX = 2;
const INT_MAX = 2_147_483_647;
/** As long as a host name can be. */
export const NODE_NAME_BYTES_MAX = 255;
/** Ours: the original reads without end. */
export const FILE_BYTES_MAX = 1024 * 1024;

/** Words with a meaning of their own in the original: they are no names and no values. */
const KEYWORDS: ReadonlySet<string> = new Set(
  ("control pidfile listen replication checksum compression timeout exec metaflush resource name " +
    "local remote source on off fullsync memsync async none crc32 sha256 hole lzf").split(" "),
);

/** How the value of a statement is written, checked and printed. */
export interface ValueForm<T> {
  /** For errors: "expected ...". */
  readonly expected: string;
  /** How TOML writes the value. */
  readonly tomlType: "string" | "integer" | "boolean";
  /** Why a word cannot be the value at all, or undefined if it may be one. */
  misfit(word: string): string | undefined;
  /** The value; throws where it is out of range. */
  read(word: string, place: Place): T;
  /** The word that {@link read} turns into `value`. */
  write(value: T): string;
}

/** Why `word` is no name or value of free choice, or undefined if it is one. */
export function wordMisfit(word: string): string | undefined {
  if (word === "") return "found nothing";
  if (KEYWORDS.has(word)) return `'${word}' is a keyword and cannot be used here`;
  if (/^[0-9]+$/.test(word)) return `found the number ${shown(word)}`;
  if (/^[A-Za-z0-9._/:[\]-]+$/.test(word)) return undefined;
  return `'${shown(word)}' has characters other than letters, digits and . - _ / : [ ]`;
}

/** A word of free choice, of at most `bytesMax` bytes; `tooLong` is what the original says. */
export function text(expected: string, bytesMax: number, tooLong: string): ValueForm<string> {
  return {
    expected,
    tomlType: "string",
    misfit: wordMisfit,
    read(word, place) {
      if (word.length <= bytesMax) return word;
      throw errorAt(tooLong, place, `${word.length} bytes, at most ${bytesMax} are possible`);
    },
    write: (value) => value,
  };
}

/** A path that means the same file wherever the program was started. */
export function absolutePath(keyword: string): ValueForm<string> {
  const form = text("an absolute path", PATH_BYTES_MAX, `${keyword} argument is too long.`);
  return {
    ...form,
    read(word, place) {
      if (form.read(word, place).startsWith("/")) return word;
      throw errorAt(`Invalid ${keyword} path ${shown(word)}.`, place, "it must begin with '/'");
    },
  };
}

/** An address of the kinds that the statement `keyword` takes. */
export function address(keyword: string, kinds: "tcp" | "unix" | "both"): ValueForm<string> {
  const form = text("an address", ADDRESS_BYTES_MAX, `${keyword} argument is too long.`);
  return {
    ...form,
    read(word, place) {
      const problem = addressProblem(form.read(word, place), kinds);
      if (problem === undefined) return word;
      throw errorAt(`Invalid ${keyword} address ${shown(word)}.`, place, problem);
    },
  };
}

/** An address, or `none` for "not known yet". */
export function addressOrNone(): ValueForm<string> {
  const known = address("remote", "both");
  return {
    ...known,
    expected: "an address or none",
    misfit: (word) => word === "none" ? undefined : known.misfit(word),
    read: (word, place) => word === "none" ? word : known.read(word, place),
  };
}

/** One of a few keywords. */
export function choice<T extends string>(...values: readonly T[]): ValueForm<T> {
  const find = (word: string) => values.find((value) => value === word);
  return {
    expected: values.join(", ").replace(/, ([^,]*)$/, " or $1"),
    tomlType: "string",
    misfit: (word) => find(word) === undefined ? `found '${shown(word)}'` : undefined,
    read(word, place) {
      const value = find(word);
      if (value === undefined) throw errorAt("Invalid value.", place, `found '${shown(word)}'`);
      return value;
    },
    write: (value) => value,
  };
}

export const onOrOff: ValueForm<boolean> = {
  ...choice("on", "off"),
  tomlType: "boolean",
  read: (word) => word === "on",
  write: (value) => value ? "on" : "off",
};

export const seconds: ValueForm<number> = {
  expected: "a number of seconds",
  tomlType: "integer",
  misfit: (word) => /^[0-9]+$/.test(word) ? undefined : `found '${shown(word)}'`,
  read(word, place) {
    const value = Number(word);
    if (value < 1 || value > TIMEOUT_SECONDS_MAX) {
      // In the original what does not fit an int has become negative.
      const words = value < 1 || value > INT_MAX
        ? "Negative or zero timeout."
        : "Timeout is too long.";
      const range = `expected 1 to ${TIMEOUT_SECONDS_MAX} seconds`;
      throw errorAt(words, place, `${range}, found ${shown(word)}`);
    }
    return value;
  },
  write: String,
};

const RATE_UNITS: readonly [suffix: string, bytes: number][] = [
  ["G", 1024 ** 3],
  ["M", 1024 ** 2],
  ["K", 1024],
  ["", 1],
];

/** Bytes per second, with k, M or G in either case; `none` is 0. */
export const rate: ValueForm<number> = {
  expected: "a number of bytes per second, with k, M or G, or none",
  tomlType: "string",
  misfit: (word) => /^([0-9]+[kmg]?|none)$/i.test(word) ? undefined : `found '${shown(word)}'`,
  read(word, place) {
    if (word.toLowerCase() === "none") return 0;
    const suffix = word.toUpperCase().replace(/^[0-9]+/, "");
    const unitBytes = RATE_UNITS.find(([known]) => known === suffix)?.[1] ?? 1;
    const value = parseInt(word, 10) * unitBytes;
    if (value >= 1 && Number.isSafeInteger(value)) return value;
    const range = "expected 1 to 9007199254740991 bytes per second, or none";
    throw errorAt("Invalid sync-rate.", place, `${range}, found ${shown(word)}`);
  },
  write(value) {
    if (value === 0) return "none";
    const [suffix, unitBytes] = RATE_UNITS.find(([, bytes]) => value % bytes === 0) ?? ["", 1];
    return `${value / unitBytes}${suffix}`;
  },
};

/** Checks the size of a name behind `resource` or `on`. Throws a ConfigError at `place`. */
export function checkName(keyword: string, name: string, place: Place): void {
  const [bytesMax, words] = keyword === "resource"
    ? [NAME_BYTES_MAX, "Resource name is too long."]
    : [NODE_NAME_BYTES_MAX, "Node name is too long."];
  if (name.length > bytesMax) {
    throw errorAt(words, place, `${name.length} bytes, at most ${bytesMax} are possible`);
  }
}

/** Refuses a file that nobody can have meant, before any work is done on it. */
export function checkFileSize(text: string, file: string): void {
  if (text.length > FILE_BYTES_MAX) {
    throw errorAt("Configuration file is too large.", file, `at most ${FILE_BYTES_MAX} bytes`);
  }
}
