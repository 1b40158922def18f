/**
 * hast.toml: the same model as hast.conf in TOML.
 *
 *   control = "/var/run/hastctl"             settings as in hast.conf, at the top
 *   listen = ["10.0.0.1", "[fd00::1]"]       or one string
 *   [on.nodea]                               control, pidfile, listen of one node
 *   [resource.data]                          timeout: integer; metaflush: boolean
 *   [resource.data.on.nodea]                 also provider-nbd, for `provider nbd`
 *   sync-rate = "50M"                        at the top or in a resource; a string, as `none` is
 *
 * Values are limited to what hast.conf can hold, so that each form can be turned into the other.
 *
 * Source: hast.conf(5) of this project.
 * @module
 */
import { parse } from "@std/toml";
import { type ConfigError, messageOf } from "../base/errors.ts";
import type { ConfigFile, NodeSection, ResourceSection, Settings } from "./ast.ts";
import { errorAt, shown } from "./place.ts";
import { type SectionKind, type Statement, STATEMENTS } from "./statements.ts";
import { checkFileSize, checkName, wordMisfit } from "./values.ts";

const SYNTAX_ERROR = "Unable to parse configuration file: syntax error.";

type Table = Record<string, unknown>;

/**
 * Reads the text of a hast.toml.
 *
 * @param file Name for messages.
 * @throws {ConfigError} With the file and the path of the key that is wrong, or the line where
 * the text is no TOML.
 */
export function parseToml(text: string, file: string): ConfigFile {
  checkFileSize(text, file);
  checkKeys(text, file);
  const reader = new Reader(file);
  return reader.file(parseTable(text, file));
}

/** Ours: more `=` than this, those in comments behind values included, no table needs. */
const KEYS_PER_TABLE_MAX = 256;
const KEY_LINE = /^[ \t]*("[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_.-]+)[ \t]*=/;

/**
 * TOML forbids to define a key twice in a table; its parser lets the last one win, and takes time
 * that grows with the square of the keys of one table.
 */
function checkKeys(text: string, file: string): void {
  let lineOfKey = new Map<string, number>();
  let keyCount = 0;
  for (const [index, line] of text.split("\n").entries()) {
    const place = `${file}:${index + 1}`;
    if (/^[ \t]*\[/.test(line)) { // A table begins; or a line of an array, which has no keys.
      lineOfKey = new Map();
      keyCount = 0;
    }
    if (!/^[ \t]*#/.test(line)) keyCount += line.split("=").length - 1;
    if (keyCount > KEYS_PER_TABLE_MAX) {
      throw errorAt(SYNTAX_ERROR, place, `more than ${KEYS_PER_TABLE_MAX} keys in one table`);
    }
    const key = KEY_LINE.exec(line)?.[1];
    if (key === undefined) continue;
    const earlier = lineOfKey.get(key);
    if (earlier !== undefined) {
      const detail = `${shown(key)} is defined a second time, first on line ${earlier}`;
      throw errorAt(SYNTAX_ERROR, place, detail);
    }
    lineOfKey.set(key, index + 1);
  }
}

function parseTable(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (thrown) {
    const message = messageOf(thrown).replaceAll(/\s+/g, " ");
    const detail = message.replace(
      /Cannot parse the TOML: key length is not a positive number/, // Its words for this case.
      "a key or table is defined a second time",
    );
    throw errorAt(SYNTAX_ERROR, file, shownLine(detail));
  }
}

/** Longer than a word: the parser's messages quote the line. */
function shownLine(text: string): string {
  return text.replace(/[^\x20-\x7e]/gu, "?").slice(0, 200);
}

class Reader {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  file(table: Table): ConfigFile {
    const { on, resource, ...rest } = table;
    return {
      settings: this.#settings("global", rest, []),
      nodes: this.#nodes("node", on, ["on"]),
      resources: this.#tables(resource, ["resource"]).map(([name, section]) =>
        this.#resource(name, section, ["resource", name])
      ),
    };
  }

  #resource(resourceName: string, table: Table, path: string[]): ResourceSection {
    this.#checkName("resource", resourceName, path);
    const { on, ...rest } = table;
    return {
      resourceName,
      place: this.#place(path),
      settings: this.#settings("resource", rest, path),
      nodes: this.#nodes("resourceNode", on, [...path, "on"]),
    };
  }

  #nodes(kind: "node" | "resourceNode", value: unknown, path: string[]): NodeSection[] {
    return this.#tables(value, path).map(([nodeName, table]) => {
      const here = [...path, nodeName];
      this.#checkName("on", nodeName, here);
      return { nodeName, place: this.#place(here), settings: this.#settings(kind, table, here) };
    });
  }

  #settings(kind: SectionKind, table: Table, path: string[]): Settings {
    const settings: Settings = {};
    for (const [key, value] of Object.entries(table)) {
      const here = [...path, key];
      const statement = STATEMENTS.find(({ tomlKey }) => tomlKey === key);
      if (statement === undefined || !statement.sections.includes(kind)) {
        throw this.#error(here, `unknown key; expected one of ${expectedIn(kind)}`);
      }
      for (const word of this.#words(statement, value, here)) {
        statement.store(settings, word, this.#place(here));
      }
    }
    return settings;
  }

  /** The value as the words that hast.conf would have. */
  #words(statement: Statement, value: unknown, path: string[]): string[] {
    if (!statement.isList || !Array.isArray(value)) return [this.#word(statement, value, path)];
    if (value.length === 0) throw this.#error(path, "an empty list; leave the key out instead");
    return value.map((item: unknown) => this.#word(statement, item, path));
  }

  #word(statement: Statement, value: unknown, path: string[]): string {
    const word = wordOf(statement.tomlType, value);
    if (word === undefined) {
      const expected = `${statement.expected} (TOML ${statement.tomlType})`;
      throw this.#error(path, `expected ${expected}, found ${kindOf(value)}`);
    }
    const misfit = statement.misfit(word);
    if (misfit !== undefined) throw this.#error(path, `expected ${statement.expected}; ${misfit}`);
    return word;
  }

  #tables(value: unknown, path: string[]): [string, Table][] {
    if (value === undefined) return [];
    if (!isTable(value)) throw this.#error(path, `expected a table, found ${kindOf(value)}`);
    return Object.entries(value).map(([name, item]) => {
      if (isTable(item)) return [name, item];
      throw this.#error([...path, name], `expected a table, found ${kindOf(item)}`);
    });
  }

  #checkName(keyword: string, name: string, path: string[]): void {
    const misfit = wordMisfit(name);
    if (misfit !== undefined) throw this.#error(path, `expected a name; ${misfit}`);
    checkName(keyword, name, this.#place(path));
  }

  #place(path: readonly string[]): string {
    const keys = path.map((key) => /^[A-Za-z0-9_-]+$/.test(key) ? key : `"${shown(key)}"`);
    return `${this.#file}: ${keys.join(".")}`;
  }

  #error(path: readonly string[], detail: string): ConfigError {
    return errorAt(SYNTAX_ERROR, this.#place(path), detail);
  }
}

function wordOf(tomlType: Statement["tomlType"], value: unknown): string | undefined {
  switch (tomlType) {
    case "string":
      return typeof value === "string" ? value : undefined;
    case "boolean":
      return typeof value === "boolean" ? (value ? "on" : "off") : undefined;
    case "integer": // A negative one becomes 0: out of range all the same.
      return Number.isInteger(value) ? `${Math.max(0, Number(value))}` : undefined;
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (value instanceof Date) return "a date";
  if (isTable(value)) return "a table";
  return `the ${typeof value} ${shown(JSON.stringify(value) ?? String(value))}`;
}

function expectedIn(kind: SectionKind): string {
  const keys = STATEMENTS.filter(({ sections }) => sections.includes(kind))
    .map(({ tomlKey }) => tomlKey);
  if (kind === "global" || kind === "resource") keys.push("on");
  if (kind === "global") keys.push("resource");
  return keys.join(", ");
}
