/** What docs/hast.conf.5 shows is what the parsers take and say. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import type { ConfigFile } from "./ast.ts";
import { identityOfName } from "./node_identity.ts";
import { parseConf } from "./parser.ts";
import { resolveConfig } from "./resolve.ts";
import { SECTION_TITLES, type SectionKind, STATEMENTS } from "./statements.ts";
import { parseToml } from "./toml.ts";

const PAGE = Deno.readTextFileSync(new URL("../docs/hast.conf.5", import.meta.url));

/** Literal blocks of one section of the page. */
function blocks(title: string): string[] {
  const section = PAGE.split(/^\.Sh /m).find((text) => text.startsWith(title)) ?? "";
  return Array.from(
    section.matchAll(/^\.Bd -literal.*\n([^]*?)^\.Ed/gm),
    (match) => match[1] ?? "",
  );
}

function resources(file: ConfigFile): string[] {
  return resolveConfig(file, identityOfName("nodea")).resources.map(({ name }) => name);
}

Deno.test("hast.conf(5): the examples are valid", () => {
  const [pair, single] = blocks("EXAMPLES");
  assertEquals(resources(parseConf(pair ?? "", "f")), ["data"]);
  assertEquals(resources(parseConf(single ?? "", "f")), ["archive"]);
  assertEquals(resources(parseToml(blocks("TOML")[0] ?? "", "f")), ["data"]);
});

Deno.test("hast.conf(5): the extension line means what the page says", () => {
  const [lines] = blocks("EXTENSIONS");
  const settings = parseConf(`resource r {\n${lines}}`, "f").resources[0]?.settings;
  assertEquals(settings?.providerNbd?.value, "127.0.0.1:10809");
  assertEquals(settings?.syncRate?.value, 50 * 1024 * 1024);
  assertEquals(settings?.secret?.value, ["/etc/hast.secret"]);
});

Deno.test("hast.conf(5): the message in DIAGNOSTICS is the one of the program", () => {
  const run = () => parseConf("\n\nchecksum md5", "/etc/hast.conf");
  const shown = (blocks("DIAGNOSTICS")[0] ?? "").replaceAll("\\&", "").replaceAll("\n", " ").trim();
  assertEquals(assertThrows(run, ConfigError).message, shown);
});

Deno.test("hast.conf(5): the general form has every statement where it may stand", () => {
  const lines = (blocks("DESCRIPTION")[0] ?? "").split("\n");
  const found = new Set<string>();
  let kind: SectionKind = "global";
  for (const line of lines) {
    if (line.startsWith("on ")) kind = "node";
    else if (line.startsWith("resource ")) kind = "resource";
    else if (line.startsWith("\ton ")) kind = "resourceNode";
    else found.add(`${line.trim().replace(/ (<|on \|).*$/, "")} ${SECTION_TITLES[kind]}`);
  }
  for (const { words, sections } of STATEMENTS) {
    for (const section of sections) {
      assert(found.has(`${words.join(" ")} ${SECTION_TITLES[section]}`), `${words} ${section}`);
    }
    assert(PAGE.includes(`.It Ic ${words.join(" ")} `), `${words} has a paragraph`);
  }
});
