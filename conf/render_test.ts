/** Random files through every printer and parser, damaged files, and what the printers promise. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import type { ConfigFile, NodeSection, SettingName, Settings } from "./ast.ts";
import { identityOfName } from "./node_identity.ts";
import { parseConf } from "./parser.ts";
import { renderConf, renderConfFile, renderToml } from "./render.ts";
import { resolveConfig } from "./resolve.ts";
import { type SectionKind, STATEMENTS } from "./statements.ts";
import { parseToml } from "./toml.ts";

const ADDRESSES = [
  "10.0.0.1",
  "tcp4://10.0.0.2:9000",
  "tcp6://[fd00::1]:8457",
  "fd00::2",
  "node.example.org",
];
const PATHS = ["/a", "/dev/ada0", "/x/y-z_1.img", "rel", "/a[b]:c"];
const NAMES = [
  "a",
  "n0",
  "nodea.example.org",
  "0123abcd-00",
  "x/y",
  "provider",
  "a.b[c]:d",
  "-",
  "7up",
];

/** Words that each statement takes. */
const SAMPLES: Readonly<Record<SettingName, readonly string[]>> = {
  control: ["/var/run/ctl", "uds:///x", "unix:///y"],
  pidfile: PATHS,
  listen: [...ADDRESSES, "/sock"],
  replication: ["fullsync", "memsync", "async"],
  checksum: ["none", "crc32", "sha256"],
  compression: ["none", "hole", "lzf"],
  timeout: ["1", "20", "2147483"],
  exec: PATHS,
  metaflush: ["on", "off"],
  name: NAMES,
  local: PATHS,
  remote: ["none", ...ADDRESSES],
  source: ADDRESSES,
  providerNbd: [...ADDRESSES, "/nbd.sock"],
  syncRate: ["none", "1", "1000", "50M", "3K", "9G"],
  secret: PATHS.filter((path) => path.startsWith("/")),
};

class Generator {
  readonly random: Random;
  constructor(seed: number) {
    this.random = new Random(seed);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.random.below(items.length)];
    assert(item !== undefined);
    return item;
  }

  /** Different names, so that no section is repeated. */
  names(countMax: number): string[] {
    return NAMES.filter(() => this.random.below(3) === 0).slice(0, countMax);
  }

  settings(kind: SectionKind): Settings {
    const settings: Settings = {};
    for (const statement of STATEMENTS) {
      if (!statement.sections.includes(kind) || this.random.below(2) === 0) continue;
      const times = statement.isList ? 1 + this.random.below(2) : 1;
      for (let i = 0; i < times; i++) {
        statement.store(settings, this.pick(SAMPLES[statement.name]), "");
      }
    }
    return settings;
  }

  nodes(kind: "node" | "resourceNode"): NodeSection[] {
    return this.names(4).map((nodeName) => ({
      nodeName,
      place: "",
      settings: this.settings(kind),
    }));
  }

  file(): ConfigFile {
    return {
      settings: this.settings("global"),
      nodes: this.nodes("node"),
      resources: this.names(5).map((resourceName) => ({
        resourceName,
        place: "",
        settings: this.settings("resource"),
        nodes: this.nodes("resourceNode"),
      })),
    };
  }
}

/** A tree without places, so that trees from different texts compare. */
function bare(file: ConfigFile): unknown {
  return JSON.parse(JSON.stringify(file, (key, value) => key === "place" ? undefined : value));
}

const SEED = testSeed();
const ROUNDS = 300;

Deno.test("renderConfFile() and renderToml() write what the parsers read back the same", () => {
  for (let round = 0; round < ROUNDS; round++) {
    const file = new Generator(SEED + round).file();
    const hint = `HAST_TEST_SEED=${SEED + round}`;
    assertEquals(bare(parseConf(renderConfFile(file), "f")), bare(file), hint);
    assertEquals(bare(parseToml(renderToml(file), "f")), bare(file), hint);
  }
});

Deno.test("renderConf() writes what reads back as the same configuration of this node", () => {
  let complete = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const generator = new Generator(SEED + round);
    const file = generator.file();
    const node = identityOfName(generator.pick(NAMES));
    for (const resource of file.resources) {
      resource.settings.local ??= { value: "/l", place: "" };
      const remote = { value: "none", place: "" };
      resource.nodes.push({ nodeName: node.hostName, place: "", settings: { remote } });
    }
    const config = resolveConfig(file, node);
    complete += config.resources.length;
    const again = resolveConfig(parseConf(renderConf(config, node), "f"), node);
    assertEquals(again, config, `HAST_TEST_SEED=${SEED + round}`);
  }
  assert(complete > ROUNDS / 2);
});

const sample = (name: string) => Deno.readTextFileSync(new URL(name, import.meta.url));
const CONF = sample("hast.conf.sample");
const TOML = sample("hast.toml.sample");
const PARSERS = [[CONF, parseConf], [TOML, parseToml]] as const;

/** Whether the text is valid; anything but a ConfigError fails the test. */
function isValid(parse: (text: string, file: string) => ConfigFile, text: string): boolean {
  try {
    parse(text, "f");
    return true;
  } catch (thrown) {
    assert(thrown instanceof ConfigError, `${thrown} for ${JSON.stringify(text)}`);
    return false;
  }
}

Deno.test("every truncation of the samples is valid or a ConfigError", () => {
  for (const [text, parse] of PARSERS) {
    const valid = Array.from(text, (_, end) => isValid(parse, text.slice(0, end)));
    assert(valid.some((value) => value) && valid.some((value) => !value));
  }
});

Deno.test("damaged samples, random words and random characters are valid or a ConfigError", () => {
  const random = new Random(SEED);
  const soup = `{ } on resource a /x 7 # #+ [ ] "b" = . \n \t \r \0 \u{1f4be} é '`.split(" ");
  const words = [...soup, ...STATEMENTS.flatMap(({ words }) => words), "\n", "none", "off"];
  for (const [text, parse] of PARSERS) {
    for (let round = 0; round < ROUNDS; round++) {
      const start = random.below(text.length);
      const end = Math.min(text.length, start + random.below(20));
      const piece = words[random.below(words.length)] ?? "";
      isValid(parse, text.slice(0, start) + piece + text.slice(end));
      const some = Array.from(
        { length: random.below(30) },
        () => words[random.below(words.length)],
      );
      isValid(parse, some.join(random.below(2) === 0 ? " " : ""));
      isValid(parse, new TextDecoder().decode(random.bytes(4 * (1 + random.below(64)))));
    }
  }
});

Deno.test("renderToml() refuses a repeated section, which TOML cannot express", () => {
  const file = parseConf("on a {\ncontrol /x\n}\non a {\ncontrol /y\n}\n", "f");
  assertStringIncludes(
    assertThrows(() => renderToml(file), ConfigError).message,
    "section a is repeated (f:4:1",
  );
});

Deno.test("renderConf() keeps default listen addresses out of force", () => {
  const node = identityOfName("n");
  const text = renderConf(resolveConfig(parseConf("", "f"), node), node);
  assertStringIncludes(text, "# listen tcp4://0.0.0.0:8457\n");
  assertEquals(resolveConfig(parseConf(text, "f"), node).listenDefaulted, true);
});

Deno.test("renderConf() needs a name that a hast.conf can hold", () => {
  const config = resolveConfig(parseConf("", "f"), identityOfName("n"));
  assertThrows(() => renderConf(config, identityOfName("local")), ConfigError, "local");
  const uuid = "01234567-89ab-cdef-0123-456789abcdef";
  const file = parseConf(`resource r {\nlocal /l\non ${uuid} {\nremote none\n}\n}`, "f");
  const identity = { ...identityOfName("local"), uuid };
  assertStringIncludes(renderConf(resolveConfig(file, identity), identity), `on ${uuid} {`);
});
