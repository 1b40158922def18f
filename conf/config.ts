/**
 * The effective configuration of one node: what hast.conf(5) or hast.toml says once inheritance
 * and node selection are done. Parsers are in `conf/parser.ts` and `conf/toml.ts`.
 *
 * Source: hast.conf(5), conf.md.
 * @module
 */

export type ReplicationMode = "fullsync" | "memsync" | "async";
export type Checksum = "none" | "crc32" | "sha256";
export type Compression = "none" | "hole" | "lzf";

/** One `resource` section as it applies to this node. Plain data: travels as JSON to workers. */
export interface ResourceConfig {
  /** The resource's name, 1..254 bytes. */
  name: string;
  /** `name`: the provider's name, hast/NAME under GEOM; defaults to the resource's name. */
  providerName: string;
  /** Extension `provider nbd ADDR`: the address of an NBD export beside the Unix socket. */
  providerNbd: string | undefined;
  /** `local`: path of the component. */
  localPath: string;
  /** `remote` as written in the file; `none` means not known yet. */
  remoteAddress: string;
  /** `source` as written, or undefined where there is none. */
  sourceAddress: string | undefined;
  replication: ReplicationMode;
  checksum: Checksum;
  compression: Compression;
  /** 1..2147483, so that milliseconds fit the 31 bits of timers and poll(2). */
  timeoutSeconds: number;
  /** `exec`: the hook program. */
  execPath: string | undefined;
  metaflush: boolean;
  /** Extension `sync-rate`: most bytes per second that a synchronisation copies; 0 means no limit. */
  syncRateBytesPerSecond: number;
  /**
   * Extension `secret`: files with the secrets that the other node may prove to know; the first one
   * is what this node proves. None: nodes talk to each other as the original's do.
   */
  secretPaths: string[];
}

/** The whole effective configuration of one node. */
export interface Config {
  /** Address of the control socket, as written: `/path`, `uds://` or `unix://`. */
  controlAddress: string;
  pidfilePath: string;
  /** Addresses to listen on, as written, in order; the defaults where the file has none. */
  listenAddresses: string[];
  /** True where `listenAddresses` are the defaults: one that the kernel lacks is then no error. */
  listenDefaulted: boolean;
  resources: ResourceConfig[];
}
