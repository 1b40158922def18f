import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import { Lexer, type Token } from "./lexer.ts";
import { parseConf } from "./parser.ts";
import { FILE_BYTES_MAX, LISTEN_ADDRESSES_MAX, TIMEOUT_SECONDS_MAX } from "./values.ts";

function tokens(text: string): Token[] {
  const lexer = new Lexer(text);
  const all: Token[] = [];
  for (let token = lexer.next(); token.kind !== "end"; token = lexer.next()) all.push(token);
  return all;
}

function fails(text: string, ...parts: string[]): void {
  const { message } = assertThrows(() => parseConf(text, "f"), ConfigError);
  for (const part of parts) assertStringIncludes(message, part);
}

function resource(body: string): string {
  return `resource r {\n${body}\n}\n`;
}

Deno.test("Lexer gives words and braces with line and column from 1", () => {
  assertEquals(
    tokens("on a{\n\t \u0001x#c\n}").map(({ kind, text, line, column }) => [
      kind,
      text,
      line,
      column,
    ]),
    [
      ["word", "on", 1, 1],
      ["word", "a", 1, 4],
      ["{", "{", 1, 5],
      ["unknown", "\u0001", 2, 3],
      ["word", "x", 2, 4],
      ["}", "}", 3, 1],
    ],
  );
});

Deno.test("Lexer stays at the end, and takes a character outside of the BMP as one", () => {
  const lexer = new Lexer("\u{1f4be}");
  assertEquals(lexer.next().text, "\u{1f4be}");
  assertEquals([lexer.next().kind, lexer.next().kind], ["end", "end"]);
});

Deno.test("Lexer reads a line that starts with #+ and a letter, and only such a line", () => {
  const texts = (text: string) => tokens(text).map((token) => token.text);
  assertEquals(texts("#+ a b # c"), ["a", "b"]);
  assertEquals(texts(" \t#+a\nb"), ["a", "b"]);
  assertEquals(texts("x #+ a"), ["x"], "not at the start of a line");
  assertEquals(texts("#+ #+ a"), [], "a comment in a comment");
  for (const comment of ["# + a", "#+", "#+-----+", "#++ a", "#+ {", "##+ a"]) {
    assertEquals(texts(comment), [], comment);
  }
  assertEquals(tokens("#+ a\nb").map((token) => token.isExtension), [true, false]);
});

Deno.test("parseConf() reads provider nbd plainly and behind #+", () => {
  for (
    const line of [
      "provider nbd 127.0.0.1",
      "#+ provider nbd 127.0.0.1",
      "#+provider nbd 127.0.0.1 # x",
    ]
  ) {
    const file = parseConf(resource(`${line}\non n {\n${line}\n}`), "f");
    assertEquals(file.resources[0]?.settings.providerNbd?.value, "127.0.0.1", line);
    assertEquals(file.resources[0]?.nodes[0]?.settings.providerNbd?.value, "127.0.0.1", line);
  }
});

Deno.test("parseConf() reads sync-rate with every suffix, plainly and behind #+", () => {
  const cases: [word: string, bytesPerSecond: number][] = [
    ["none", 0],
    ["1", 1],
    ["1000", 1000],
    ["64k", 65536],
    ["50M", 52428800],
    ["50m", 52428800],
    ["2G", 2147483648],
    ["8388607G", 8388607 * 1024 ** 3],
  ];
  for (const [word, bytesPerSecond] of cases) {
    for (const line of [`sync-rate ${word}`, `#+ sync-rate ${word}`]) {
      const file = parseConf(`${line}\n${resource(line)}`, "f");
      assertEquals(file.settings.syncRate?.value, bytesPerSecond, line);
      assertEquals(file.resources[0]?.settings.syncRate?.value, bytesPerSecond, line);
    }
  }
});

Deno.test("parseConf() refuses what is no rate", () => {
  fails("sync-rate", "f:1:10", "expected a number of bytes per second, with k, M or G, or none");
  fails("sync-rate fast", "found 'fast'");
  fails("sync-rate 1.5M", "found '1.5M'");
  fails("sync-rate 1T", "found '1T'");
  fails("sync-rate -1", "found '-1'");
  fails("sync-rate 0", "Invalid sync-rate. (f:1:11: expected 1 to 9007199254740991 bytes");
  fails("sync-rate 8388608G", "Invalid sync-rate.");
  fails(`sync-rate ${"9".repeat(400)}`, "Invalid sync-rate.");
  fails("on n {\nsync-rate 1M\n}", "f:2:1", "'sync-rate' may stand outside of all sections or");
});

Deno.test("parseConf() takes nothing but whole extension statements from #+ lines", () => {
  fails("#+ replication async", "f:1:4", "extension statement");
  fails(resource("#+ provider nbd\n1.1.1.1"), "f:3:1", "'#+' line");
  fails(resource("local\n#+ x"), "f:3:4", "'#+' line");
  fails("#+ on a {\n}", "f:1:4");
  fails("#+ resource a {\n}", "f:1:4");
  fails("on\n#+ a\n{\n}", "f:2:4");
  fails(resource("#+ provider nbd 1.1.1.1 }"), "f:2:25", "near '}'");
});

Deno.test("parseConf() takes words of extensions and of other sections as names", () => {
  const text = "resource provider {\n on nbd {\n name nbd local provider\n }\n}";
  const [section] = parseConf(text, "f").resources;
  assertEquals([section?.resourceName, section?.nodes[0]?.nodeName], ["provider", "nbd"]);
});

Deno.test("parseConf() says what it expected", () => {
  fails("resource", "line 1 near ''", "f:1:9: expected a name for the resource", "end of the file");
  fails("resource a", "f:1:11: expected '{'");
  fails("resource a {", "f:1:13: expected one of replication,", "'}' in a 'resource' section");
  fails("resource 12 {}", "f:1:10", "found the number 12");
  fails("timeout -5", "f:1:9: expected a number of seconds after 'timeout'; found '-5'");
  fails("timeout {", "near '{'", "expected a number of seconds");
  fails("metaflush none", "expected on or off after 'metaflush'");
  fails(resource("provider ggate x"), "f:2:10: expected 'nbd' after 'provider'");
  fails(
    "provider nbd 1.1.1.1",
    "'provider' may stand in a 'resource' section or in an 'on' section",
  );
  fails("resource a { on b { on c {", "f:1:21", "in an 'on' section of a resource");
  fails("\ufeffcontrol /x", "near '\\u{feff}'");
  fails("exec /a\u001b[2J", "near '\\u{1b}'", "is not allowed outside of comments");
});

Deno.test("parseConf() keeps every limit, in the sections of other nodes too", () => {
  const long = (count: number) => "x".repeat(count);
  const other = (line: string) => resource(`on other {\n${line}\n}`);
  fails(`resource ${long(255)} {}`, "Resource name is too long. (f:1:10");
  fails(`on ${long(256)} {}`, "Node name is too long. (f:1:4");
  fails(other(`remote ${long(1024)}`), "remote argument is too long. (f:3:8: 1024 bytes");
  fails(other(`local ${long(1024)}`), "local argument is too long.");
  fails(`listen ${long(1024)}`, "listen argument is too long.");
  fails(resource(`provider nbd ${long(1024)}`), "provider nbd argument is too long.");
  fails("listen 1.1.1.1\n".repeat(LISTEN_ADDRESSES_MAX + 1), "Too many listen addresses. (f:257:8");
  parseConf(`timeout ${TIMEOUT_SECONDS_MAX}`, "f");
  fails(`timeout ${TIMEOUT_SECONDS_MAX + 1}`, "Timeout is too long. (f:1:9: expected 1 to");
  fails(`timeout ${"9".repeat(400)}`, "Negative or zero timeout.", "9...)");
  parseConf("#".repeat(FILE_BYTES_MAX), "f");
  fails("#".repeat(FILE_BYTES_MAX + 1), "Configuration file is too large. (f: at most 1048576");
});

Deno.test("parseConf() checks addresses where they are written", () => {
  fails("listen 10.0.0.256", "Invalid listen address 10.0.0.256. (f:1:8: '10.0.0.256' is not an");
  fails("control tcp4://127.0.0.1:8457", "Invalid control address", "found a TCP address");
  fails(resource("on n {\nsource /x\n}"), "Invalid source address /x.", "expected a TCP address");
  fails(resource("on n {\nremote a:0\n}"), "Invalid remote address a:0.", "1 to 65535");
  parseConf(resource("on n {\nremote none\n}"), "f");
});

Deno.test("parseConf() takes two secrets in a section, by absolute path", () => {
  const file = parseConf(`#+ secret /a\nsecret /b\n${resource("#+ secret /c")}`, "f");
  assertEquals(file.settings.secret?.value, ["/a", "/b"]);
  assertEquals(file.resources[0]?.settings.secret?.value, ["/c"]);
  fails("secret /a\nsecret /b\nsecret /c", "Too many secrets. (f:3:8: at most 2)");
  fails("secret hast.secret", "Invalid secret path hast.secret. (f:1:8: it must begin with '/')");
  fails("secret", "f:1:7", "expected an absolute path after 'secret'");
  fails(`secret /${"x".repeat(1023)}`, "secret argument is too long.");
  fails("on n {\nsecret /a\n}", "'secret' may stand outside of all sections or in a 'resource'");
});
