/**
 * Words and braces of hast.conf, with line and column.
 *
 * White space and ends of lines only separate; `#` starts a comment to the end of the line. A
 * line whose first thing is `#+` and a letter is read as if the `#+` were not there: the original
 * sees a comment, so that one file with our extension statements serves both programs.
 *
 * Whether a word is a keyword, a number or a name is for the parser to say. A character that the
 * grammar has no use for is an error here; the original prints it to stdout and goes on.
 *
 * Source: hast.conf(5); conf.md, tokens.
 * @module
 */

/** One token; the last one of a text is `end`, again and again. */
export interface Token {
  kind: "word" | "{" | "}" | "end" | "unknown";
  /** As written; empty at the end. For `unknown`, the one character. */
  text: string;
  /** From 1. */
  line: number;
  /** From 1, in characters of UTF-16; a tab is one. */
  column: number;
  /** The token stands on a `#+` line. */
  isExtension: boolean;
}

const BLANKS = /[ \t]*/y;
const COMMENT = /#[^\n]*/y;
const EXTENSION_START = /#\+(?=[ \t]*[A-Za-z])/y;
const WORD = /[A-Za-z0-9._/:[\]-]+/y;

/** Cuts one text into tokens, each when it is asked for. */
export class Lexer {
  readonly #text: string;
  #offset = 0;
  #line = 1;
  #lineStart = 0;
  #atLineStart = true;
  #isExtension = false;

  constructor(text: string) {
    this.#text = text;
  }

  /** The next token. Each call moves on by at least one character until the end. */
  next(): Token {
    this.#skip();
    const start = this.#offset;
    const word = this.#take(WORD);
    if (word !== "") return this.#token("word", word, start);
    const character = this.#text.charAt(start);
    if (character === "") return this.#token("end", "", start);
    if (character === "{" || character === "}") {
      this.#offset++;
      return this.#token(character, character, start);
    }
    const whole = String.fromCodePoint(this.#text.codePointAt(start) ?? 0);
    this.#offset += whole.length;
    return this.#token("unknown", whole, start);
  }

  #skip(): void {
    for (;;) {
      this.#take(BLANKS);
      if (this.#text.charAt(this.#offset) === "\n") this.#newLine();
      else if (this.#atLineStart && this.#take(EXTENSION_START) !== "") this.#isExtension = true;
      else if (this.#take(COMMENT) === "") break;
    }
    this.#atLineStart = false;
  }

  #newLine(): void {
    this.#offset++;
    this.#line++;
    this.#lineStart = this.#offset;
    this.#atLineStart = true;
    this.#isExtension = false;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#offset;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#offset += found.length;
    return found;
  }

  #token(kind: Token["kind"], text: string, start: number): Token {
    const column = start - this.#lineStart + 1;
    return { kind, text, line: this.#line, column, isExtension: this.#isExtension };
  }
}
