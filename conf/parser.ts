/**
 * hast.conf to syntax tree, by recursive descent.
 *
 *   file      = { statement | "on" NAME "{" { statement } "}" | resource }
 *   resource  = "resource" NAME "{" { statement | "on" NAME "{" { statement } "}" } "}"
 *   statement = words value                        (see conf/statements.ts)
 *
 * What a repeated statement means is as in the original: the last one counts, `listen` adds.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import { ConfigError } from "../base/errors.ts";
import type { ConfigFile, NodeSection, ResourceSection, Settings } from "./ast.ts";
import { Lexer, type Token } from "./lexer.ts";
import { errorAt, type Place, shown } from "./place.ts";
import { SECTION_TITLES, type SectionKind, type Statement, STATEMENTS } from "./statements.ts";
import { checkFileSize, checkName, wordMisfit } from "./values.ts";

/**
 * Reads the text of a hast.conf.
 *
 * @param file Name for messages.
 * @throws {ConfigError} With the file, line and column of what is wrong, and what was expected.
 */
export function parseConf(text: string, file: string): ConfigFile {
  checkFileSize(text, file);
  return new Parser(text, file).file();
}

class Parser {
  readonly #lexer: Lexer;
  readonly #file: string;
  #token: Token;

  constructor(text: string, file: string) {
    this.#lexer = new Lexer(text);
    this.#file = file;
    this.#token = this.#lexer.next();
  }

  file(): ConfigFile {
    const settings: Settings = {};
    const nodes: NodeSection[] = [];
    const resources: ResourceSection[] = [];
    while (this.#token.kind !== "end") {
      if (this.#isPlainWord("on")) nodes.push(this.#nodeSection("node"));
      else if (this.#isPlainWord("resource")) resources.push(this.#resourceSection());
      else this.#statement("global", settings);
    }
    return { settings, nodes, resources };
  }

  #resourceSection(): ResourceSection {
    const place = this.#place(this.#advance());
    const resourceName = this.#name("resource", "a name for the resource");
    const settings: Settings = {};
    const nodes: NodeSection[] = [];
    this.#brace("{");
    while (this.#token.kind !== "}") {
      if (this.#isPlainWord("on")) nodes.push(this.#nodeSection("resourceNode"));
      else this.#statement("resource", settings);
    }
    this.#brace("}");
    return { resourceName, place, settings, nodes };
  }

  #nodeSection(kind: "node" | "resourceNode"): NodeSection {
    const place = this.#place(this.#advance());
    const nodeName = this.#name("on", "the name of a node");
    const settings: Settings = {};
    this.#brace("{");
    while (this.#token.kind !== "}") this.#statement(kind, settings);
    this.#brace("}");
    return { nodeName, place, settings };
  }

  #statement(kind: SectionKind, settings: Settings): void {
    const first = this.#token;
    const statement = this.#findStatement(kind);
    this.#advance();
    for (const word of statement.words.slice(1)) {
      if (this.#token.text !== word) throw this.#unexpected(`'${word}' after '${first.text}'`);
      this.#advance();
    }
    const value = this.#value(statement, first.isExtension);
    statement.store(settings, value.text, this.#place(value));
  }

  #findStatement(kind: SectionKind): Statement {
    const { text, isExtension } = this.#token;
    const known = STATEMENTS.find((statement) => statement.words[0] === text);
    if (this.#token.kind !== "word" || known === undefined) {
      throw this.#unexpected(`${expectedIn(kind)} ${SECTION_TITLES[kind]}`);
    }
    if (!known.sections.includes(kind)) {
      const right = known.sections.map((section) => SECTION_TITLES[section]).join(" or ");
      throw this.#unexpected(
        `${expectedIn(kind)} ${SECTION_TITLES[kind]}; '${text}' may stand ${right}`,
      );
    }
    if (isExtension && !known.isExtension) {
      throw this.#unexpected("an extension statement after '#+': the original ignores this line");
    }
    return known;
  }

  #value(statement: Statement, isExtension: boolean): Token {
    const expected = `${statement.expected} after '${statement.words.join(" ")}'`;
    if (this.#token.kind !== "word") throw this.#unexpected(expected);
    if (this.#token.isExtension !== isExtension) {
      throw this.#unexpected(`${expected}, and on the same '#+' line if on any`);
    }
    const misfit = statement.misfit(this.#token.text);
    if (misfit !== undefined) throw this.#unexpected(`${expected}; ${misfit}`);
    return this.#advance();
  }

  #name(keyword: string, expected: string): string {
    const token = this.#token;
    const wanted = `${expected} after '${keyword}'`;
    if (token.kind !== "word" || token.isExtension) throw this.#unexpected(wanted);
    const misfit = wordMisfit(token.text);
    if (misfit !== undefined) throw this.#unexpected(`${wanted}; ${misfit}`);
    checkName(keyword, token.text, this.#place(token));
    this.#advance();
    return token.text;
  }

  #brace(kind: "{" | "}"): void {
    if (this.#token.kind !== kind || this.#token.isExtension) throw this.#unexpected(`'${kind}'`);
    this.#advance();
  }

  /** Whether the token is this keyword; on a `#+` line it is not, for sections are no extension. */
  #isPlainWord(keyword: string): boolean {
    return this.#token.text === keyword && !this.#token.isExtension;
  }

  /** Takes the current token and reads the next one. */
  #advance(): Token {
    const token = this.#token;
    this.#token = this.#lexer.next();
    return token;
  }

  #place(token: Token): Place {
    return `${this.#file}:${token.line}:${token.column}`;
  }

  #unexpected(expected: string): ConfigError {
    const { kind, text, line } = this.#token;
    return errorAt(
      `Unable to parse configuration file at line ${line} near '${shown(text)}': syntax error`,
      this.#place(this.#token),
      kind === "unknown"
        ? unknownCharacter(text)
        : `expected ${expected}${kind === "end" ? ", found the end of the file" : ""}`,
    );
  }
}

function unknownCharacter(text: string): string {
  if (text === "\r") return "carriage return; the lines of this file must end in a newline alone";
  if (text === '"' || text === "'") return "values are written without quotes";
  if (text === "=") return "a value follows its keyword without '='";
  return `'${
    shown(text)
  }' is not allowed outside of comments; words have letters, digits and . - _ / : [ ]`;
}

function expectedIn(kind: SectionKind): string {
  const keywords = STATEMENTS.filter((statement) => statement.sections.includes(kind))
    .map((statement) => statement.words.join(" "));
  if (kind === "global" || kind === "resource") keywords.push("on");
  if (kind === "global") keywords.push("resource");
  else keywords.push("'}'");
  return `one of ${keywords.join(", ")}`;
}
