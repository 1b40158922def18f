/**
 * Configurations as text: what `hastctl config` prints, and the conversion to TOML.
 *
 * `renderConf` shows what is in force on one node, with every default and inherited value written
 * out. `renderToml` keeps the structure of a file, all nodes included, so that its result can
 * take the place of the file; only comments are lost.
 *
 * Source: hast.conf(5) of this project.
 * @module
 */
import { stringify } from "@std/toml";
import { ConfigError } from "../base/errors.ts";
import type { ConfigFile, NodeSection, ResourceSection, Setting, Settings } from "./ast.ts";
import type { Config, ResourceConfig } from "./config.ts";
import { acceptableNodeNames, type NodeIdentity } from "./node_identity.ts";
import { type Statement, STATEMENTS } from "./statements.ts";
import { wordMisfit } from "./values.ts";

/**
 * The effective configuration of one node as hast.conf text, which reads back as `config`.
 * Default listen addresses stand in a comment: written out, a family that the kernel lacks would
 * become an error.
 *
 * @throws {ConfigError} No name of this node can be written in a hast.conf.
 */
export function renderConf(config: Config, identity: NodeIdentity): string {
  const text = renderConfFile(fileOf(config, identity));
  if (!config.listenDefaulted) return text;
  return config.listenAddresses.map((address) => `# listen ${address}\n`).join("") + text;
}

/** A whole file as hast.conf text. Extension statements stand on `#+` lines. */
export function renderConfFile(file: ConfigFile): string {
  return [
    lines(file.settings, ""),
    ...file.nodes.map((node) => nodeText(node, "")),
    ...file.resources.map(resourceText),
  ].join("");
}

/**
 * A whole file as hast.toml text, which means the same on every node.
 *
 * @throws {ConfigError} A section is repeated, which TOML cannot express.
 */
export function renderToml(file: ConfigFile): string {
  const table = tomlSettings(file.settings);
  if (file.nodes.length > 0) table.on = tomlNodes(file.nodes);
  if (file.resources.length > 0) {
    table.resource = tomlTables(
      file.resources.map(({ resourceName, place, settings, nodes }) => {
        const section = tomlSettings(settings);
        if (nodes.length > 0) section.on = tomlNodes(nodes);
        return [resourceName, place, section];
      }),
    );
  }
  return stringify(table).replace(/^\n/, "");
}

function lines(settings: Settings, indent: string): string {
  return STATEMENTS.flatMap((statement) =>
    statement.printed(settings).map((value) =>
      `${indent}${statement.isExtension ? "#+ " : ""}${statement.words.join(" ")} ${value}\n`
    )
  ).join("");
}

function nodeText(node: NodeSection, indent: string): string {
  return `${indent}on ${node.nodeName} {\n${lines(node.settings, indent + "\t")}${indent}}\n`;
}

function resourceText(resource: ResourceSection): string {
  const nodes = resource.nodes.map((node) => nodeText(node, "\t")).join("");
  return `resource ${resource.resourceName} {\n${lines(resource.settings, "\t")}${nodes}}\n`;
}

function tomlSettings(settings: Settings): Record<string, unknown> {
  const table: Record<string, unknown> = {};
  for (const statement of STATEMENTS) {
    const values = statement.printed(settings).map((word) => tomlValue(statement, word));
    if (values.length > 0) table[statement.tomlKey] = values.length === 1 ? values[0] : values;
  }
  return table;
}

function tomlValue(statement: Statement, word: string): string | number | boolean {
  switch (statement.tomlType) {
    case "string":
      return word;
    case "integer":
      return Number(word);
    case "boolean":
      return word === "on";
  }
}

function tomlNodes(nodes: readonly NodeSection[]): Record<string, unknown> {
  return tomlTables(
    nodes.map(({ nodeName, place, settings }) => [nodeName, place, tomlSettings(settings)]),
  );
}

function tomlTables(
  sections: readonly [name: string, place: string, table: Record<string, unknown>][],
): Record<string, unknown> {
  const tables = new Map<string, unknown>();
  for (const [name, place, table] of sections) {
    if (tables.has(name)) {
      throw new ConfigError(
        `Unable to convert to TOML: section ${name} is repeated (${place}: join the sections).`,
      );
    }
    tables.set(name, table);
  }
  return Object.fromEntries(tables);
}

function fileOf(config: Config, identity: NodeIdentity): ConfigFile {
  const nodeName = acceptableNodeNames(identity).find((name) => wordMisfit(name) === undefined);
  if (nodeName === undefined) {
    throw new ConfigError(
      `No name of this node can be written in a configuration: ${identity.hostName}.`,
    );
  }
  return {
    settings: {
      control: setting(config.controlAddress),
      pidfile: setting(config.pidfilePath),
      listen: config.listenDefaulted ? undefined : setting(config.listenAddresses),
    },
    nodes: [],
    resources: config.resources.map((resource) => resourceSectionOf(resource, nodeName)),
  };
}

function resourceSectionOf(resource: ResourceConfig, nodeName: string): ResourceSection {
  return {
    resourceName: resource.name,
    place: "",
    settings: {
      replication: setting(resource.replication),
      checksum: setting(resource.checksum),
      compression: setting(resource.compression),
      timeout: setting(resource.timeoutSeconds),
      exec: optional(resource.execPath),
      metaflush: setting(resource.metaflush),
      name: setting(resource.providerName),
      local: setting(resource.localPath),
      providerNbd: optional(resource.providerNbd),
      syncRate: setting(resource.syncRateBytesPerSecond),
      secret: resource.secretPaths.length === 0 ? undefined : setting(resource.secretPaths),
    },
    nodes: [{
      nodeName,
      place: "",
      settings: {
        remote: setting(resource.remoteAddress),
        source: optional(resource.sourceAddress),
      },
    }],
  };
}

function setting<T>(value: T): Setting<T> {
  return { value, place: "" };
}

function optional<T>(value: T | undefined): Setting<T> | undefined {
  return value === undefined ? undefined : setting(value);
}
