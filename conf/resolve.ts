/**
 * From the file for all nodes to the configuration of this one: selection of the sections that
 * mean this node, inheritance (node over resource over global over default), and what must not
 * be missing.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import type { ConfigFile, ResourceSection, SettingName, Settings, SettingTypes } from "./ast.ts";
import type { Config, ResourceConfig } from "./config.ts";
import { acceptableNodeNames, isThisNode, type NodeIdentity } from "./node_identity.ts";
import { errorAt, shown } from "./place.ts";

/** Used where no section says otherwise. */
export const DEFAULTS = {
  control: "/var/run/hastctl",
  pidfile: "/var/run/hastd.pid",
  listen: ["tcp4://0.0.0.0:8457", "tcp6://[::]:8457"],
  replication: "memsync",
  checksum: "none",
  compression: "hole",
  timeout: 20,
  metaflush: true,
  syncRate: 0,
} as const;

/**
 * The configuration of one node.
 *
 * @throws {ConfigError} A resource is there twice, has nothing for this node, or lacks `remote`
 * or `local`.
 */
export function resolveConfig(file: ConfigFile, identity: NodeIdentity): Config {
  const mine = file.nodes.filter((node) => isThisNode(identity, node.nodeName))
    .map((node) => node.settings);
  const sections = [...mine.toReversed(), file.settings];
  const listenAddresses = [file.settings, ...mine].flatMap((settings) =>
    settings.listen?.value ?? []
  );
  const listenDefaulted = listenAddresses.length === 0;
  checkUnique(file.resources);
  return {
    controlAddress: first(sections, "control") ?? DEFAULTS.control,
    pidfilePath: first(sections, "pidfile") ?? DEFAULTS.pidfile,
    listenAddresses: listenDefaulted ? [...DEFAULTS.listen] : listenAddresses,
    listenDefaulted,
    resources: file.resources.map((resource) => resolveResource(resource, file.settings, identity)),
  };
}

function resolveResource(
  resource: ResourceSection,
  global: Settings,
  identity: NodeIdentity,
): ResourceConfig {
  const { resourceName: name, place } = resource;
  const mine = resource.nodes.filter((node) => isThisNode(identity, node.nodeName));
  if (mine.length === 0) throw noSection(resource, identity);
  const settings = [
    ...mine.toReversed().map((node) => node.settings), // Of two that mean this node, the later wins.
    resource.settings,
    global,
  ];
  const remoteAddress = first(settings, "remote");
  const localPath = first(settings, "local");
  if (remoteAddress === undefined) {
    const words = `Remote address not configured for resource ${name}.`;
    throw errorAt(words, mine[0]?.place ?? place, "add 'remote ADDRESS', or 'remote none', here");
  }
  if (localPath === undefined) {
    const words = `Path to local component not configured for resource ${name}.`;
    throw errorAt(words, place, "add 'local PATH' to the resource or to its section of this node");
  }
  return {
    name,
    providerName: first(settings, "name") ?? name,
    providerNbd: first(settings, "providerNbd"),
    localPath,
    remoteAddress,
    sourceAddress: first(settings, "source"),
    replication: first(settings, "replication") ?? DEFAULTS.replication,
    checksum: first(settings, "checksum") ?? DEFAULTS.checksum,
    compression: first(settings, "compression") ?? DEFAULTS.compression,
    timeoutSeconds: first(settings, "timeout") ?? DEFAULTS.timeout,
    execPath: first(settings, "exec"),
    metaflush: first(settings, "metaflush") ?? DEFAULTS.metaflush,
    syncRateBytesPerSecond: first(settings, "syncRate") ?? DEFAULTS.syncRate,
    secretPaths: first(settings, "secret") ?? [],
  };
}

/** The value of the innermost section that has one. */
function first<N extends SettingName>(
  sections: readonly Settings[],
  name: N,
): SettingTypes[N] | undefined {
  for (const settings of sections) {
    const setting = settings[name];
    if (setting !== undefined) return setting.value;
  }
  return undefined;
}

function checkUnique(resources: readonly ResourceSection[]): void {
  const places = new Map<string, string>();
  for (const { resourceName, place } of resources) {
    const earlier = places.get(resourceName);
    if (earlier !== undefined) {
      const words = `Resource ${resourceName} configured more than once.`;
      throw errorAt(words, place, `the first one is at ${earlier}`);
    }
    places.set(resourceName, place);
  }
}

function noSection(resource: ResourceSection, identity: NodeIdentity) {
  const names = acceptableNodeNames(identity);
  const found = resource.nodes.map((node) => node.nodeName).join(", ");
  return errorAt(
    `No resource ${resource.resourceName} configuration for this node (acceptable node names: ${
      names.join(", ")
    }).`,
    resource.place,
    `it has ${found === "" ? "no 'on' section" : `sections for ${shown(found)}`}; add 'on ${
      names[0]
    } { ... }'`,
  );
}
