/**
 * A configuration file as it is written, for all nodes: what `conf/parser.ts` makes of hast.conf
 * and `conf/toml.ts` of hast.toml, and what `conf/resolve.ts` turns into a `Config`.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */
import type { Checksum, Compression, ReplicationMode } from "./config.ts";
import type { Place } from "./place.ts";

/** Type of the value of each setting; the names are those of hast.conf. */
export interface SettingTypes {
  control: string;
  pidfile: string;
  /** Each address in the order of the file. */
  listen: string[];
  replication: ReplicationMode;
  checksum: Checksum;
  compression: Compression;
  /** Seconds. */
  timeout: number;
  exec: string;
  metaflush: boolean;
  name: string;
  local: string;
  /** An address, or `none`. */
  remote: string;
  source: string;
  /** Extension: `provider nbd ADDRESS`. */
  providerNbd: string;
  /** Extension: `sync-rate`, bytes per second; 0 means none. */
  syncRate: number;
  /** Extension: `secret PATH`, each in the order of the file. */
  secret: string[];
}

export type SettingName = keyof SettingTypes;

/** A value and where it was written, the last time if it was written more than once. */
export interface Setting<T> {
  value: T;
  place: Place;
}

/** Settings of one section; which ones a section may have is in `conf/statements.ts`. */
export type Settings = { [N in SettingName]?: Setting<SettingTypes[N]> };

/** `on NODE { ... }`, at the top or inside of a resource. */
export interface NodeSection {
  nodeName: string;
  place: Place;
  settings: Settings;
}

/** `resource NAME { ... }`. */
export interface ResourceSection {
  resourceName: string;
  place: Place;
  settings: Settings;
  nodes: NodeSection[];
}

/** A whole file; sections in the order of the file, repeated ones side by side. */
export interface ConfigFile {
  settings: Settings;
  nodes: NodeSection[];
  resources: ResourceSection[];
}
