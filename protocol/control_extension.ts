/**
 * What this implementation adds to control messages. A status request with `extended` set is
 * answered with these fields behind the original's; whoever does not ask gets not one of them.
 *
 * Per resource i (a number without sign behind each name):
 *
 *   field           type    meaning
 *   timeout         uint32  seconds
 *   exec            string  hook program; absent where there is none
 *   metaflush       uint8   1 on, 0 off
 *   providernbd     string  absent where there is none
 *   syncrate        uint64  limit in bytes per second, 0 none
 *   connection      string  none, waiting, connecting, connected, refused
 *   connreason      string  of refused: split-brain, resuid-mismatch, other
 *   connmessage     string  for people
 *   connsince       uint64  milliseconds of Unix time
 *   localservice    uint8   1 in service, 0 out of service; absent: not known
 *   localerror      int32   errno of FreeBSD by which it went out of service, or 0
 *   stale           uint64  bytes that one node lacks
 *   syncactive      uint8   1 while synchronising; absent: these six are not known
 *   syncdirection   string  to-peer, from-peer, both
 *   synctotal       uint64  bytes
 *   synccopied      uint64  bytes
 *   syncspeed       uint64  bytes per second
 *   syncleft        uint64  seconds; absent where nobody can tell
 *   resuid          uint64
 *   localcnt        uint64
 *   remotecnt       uint64
 *
 * Of the daemon: `daemonpid` int32, `configpath`, `nodename` (absent unless it was given), `control`,
 * `pidfile` strings, `listen0`, `listen1`, ... strings.
 *
 * Source: docs/control_protocol.md.
 * @module
 */
import type { Nv } from "./nv.ts";

export const CONNECTION_STATES = [
  "none",
  "waiting",
  "connecting",
  "connected",
  "refused",
] as const;
/**
 * `none`: not wanted in this role; `waiting`: for the primary to come; `refused`: the nodes reach
 * each other, but one of them does not take the other.
 */
export type ConnectionState = typeof CONNECTION_STATES[number];

/** How a resource stands to the other node. */
export interface ConnectionReply {
  state: ConnectionState;
  /** Of `refused`: `split-brain`, `resuid-mismatch` or `other`. */
  reason?: string | undefined;
  /** For people. */
  message?: string | undefined;
  /** Milliseconds of Unix time. */
  sinceMs?: number | undefined;
}

/** A synchronisation; see `SyncStatus` in hastd/worker_channel.ts. */
export interface SyncReply {
  active: boolean;
  /** `to-peer`, `from-peer` or `both`. */
  direction: string;
  totalBytes: number;
  copiedBytes: number;
  bytesPerSecond: number;
  secondsLeft?: number | undefined;
}

/** What is added to one resource. Undefined means: not known. */
export interface StatusExtension {
  timeoutSeconds: number;
  execPath: string | undefined;
  metaflush: boolean;
  providerNbd: string | undefined;
  /** 0: no limit. */
  syncRateBytesPerSecond: number;
  /** Files, not what is in them. */
  secretPaths: string[];
  connection: ConnectionReply;
  /** `errno` is FreeBSD's, 0 while in service. */
  localComponent: { inService: boolean; errno: number } | undefined;
  staleBytes: number | undefined;
  sync: SyncReply | undefined;
  resuid: bigint | undefined;
  localcnt: bigint | undefined;
  remotecnt: bigint | undefined;
}

/** What a daemon says of itself. */
export interface DaemonReply {
  pid: number;
  /** The file that it reads, absolute. */
  configPath: string;
  /** Argument of `-n`. */
  nodeName: string | undefined;
  controlAddress: string;
  pidfilePath: string;
  listenAddresses: readonly string[];
}

/** Longest `connmessage`, in UTF-16 units. */
const MESSAGE_LENGTH_MAX = 1024;
/** Most `listen` fields that are read: more than a configuration can have. */
const LISTEN_MAX = 1024;

/** Adds the fields of resource number `index`. */
export function addStatusExtension(nv: Nv, index: number, extension: StatusExtension): void {
  const text = (field: string, value: string | undefined) => {
    if (value !== undefined) nv.addString(`${field}${index}`, value);
  };
  const u64 = (field: string, value: number | bigint | undefined) => {
    if (value !== undefined) nv.addU64(`${field}${index}`, value);
  };
  const flag = (field: string, value: boolean) => nv.addU8(`${field}${index}`, value ? 1 : 0);
  nv.addU32(`timeout${index}`, extension.timeoutSeconds);
  text("exec", extension.execPath);
  flag("metaflush", extension.metaflush);
  text("providernbd", extension.providerNbd);
  u64("syncrate", extension.syncRateBytesPerSecond);
  // No path of a configuration has a blank.
  if (extension.secretPaths.length > 0) text("secret", extension.secretPaths.join(" "));
  const { connection, localComponent, sync } = extension;
  text("connection", connection.state);
  text("connreason", connection.reason);
  text("connmessage", printable(connection.message));
  u64("connsince", connection.sinceMs);
  if (localComponent !== undefined) {
    flag("localservice", localComponent.inService);
    nv.addI32(`localerror${index}`, localComponent.errno);
  }
  u64("stale", extension.staleBytes);
  if (sync !== undefined) {
    flag("syncactive", sync.active);
    text("syncdirection", sync.direction);
    u64("synctotal", sync.totalBytes);
    u64("synccopied", sync.copiedBytes);
    u64("syncspeed", sync.bytesPerSecond);
    u64("syncleft", sync.secondsLeft);
  }
  u64("resuid", extension.resuid);
  u64("localcnt", extension.localcnt);
  u64("remotecnt", extension.remotecnt);
}

/** Some of these words come from the other node: nothing that moves a cursor, no NUL. */
function printable(message: string | undefined): string | undefined {
  return message?.slice(0, MESSAGE_LENGTH_MAX).replaceAll(/[^\x20-\x7e\xa0-\uffff]/gu, "?");
}

/**
 * Reads what is added to resource number `index`; undefined where nothing is.
 *
 * @throws {ProtocolError} A figure that is no counter is beyond 2^53 - 1.
 */
export function readStatusExtension(nv: Nv, index: number): StatusExtension | undefined {
  const connection = readConnection(nv, index);
  if (connection === undefined) return undefined;
  return {
    timeoutSeconds: nv.u32(`timeout${index}`) ?? 0,
    execPath: nv.string(`exec${index}`),
    metaflush: nv.u8(`metaflush${index}`) === 1,
    providerNbd: nv.string(`providernbd${index}`),
    syncRateBytesPerSecond: nv.safeU64(`syncrate${index}`) ?? 0,
    secretPaths: nv.string(`secret${index}`)?.split(" ") ?? [],
    connection,
    localComponent: readLocalComponent(nv, index),
    staleBytes: nv.safeU64(`stale${index}`),
    sync: readSync(nv, index),
    resuid: nv.u64(`resuid${index}`),
    localcnt: nv.u64(`localcnt${index}`),
    remotecnt: nv.u64(`remotecnt${index}`),
  };
}

function readConnection(nv: Nv, index: number): ConnectionReply | undefined {
  const text = nv.string(`connection${index}`);
  const state = CONNECTION_STATES.find((known) => known === text);
  if (state === undefined) return undefined;
  return {
    state,
    reason: nv.string(`connreason${index}`),
    message: nv.string(`connmessage${index}`),
    sinceMs: nv.safeU64(`connsince${index}`),
  };
}

function readLocalComponent(nv: Nv, index: number): StatusExtension["localComponent"] {
  const inService = nv.u8(`localservice${index}`);
  if (inService === undefined) return undefined;
  return { inService: inService === 1, errno: nv.i32(`localerror${index}`) ?? 0 };
}

function readSync(nv: Nv, index: number): SyncReply | undefined {
  const active = nv.u8(`syncactive${index}`);
  if (active === undefined) return undefined;
  return {
    active: active === 1,
    direction: nv.string(`syncdirection${index}`) ?? "",
    totalBytes: nv.safeU64(`synctotal${index}`) ?? 0,
    copiedBytes: nv.safeU64(`synccopied${index}`) ?? 0,
    bytesPerSecond: nv.safeU64(`syncspeed${index}`) ?? 0,
    secondsLeft: nv.safeU64(`syncleft${index}`),
  };
}

/** Adds what the daemon says of itself. */
export function addDaemon(nv: Nv, daemon: DaemonReply): void {
  nv.addI32("daemonpid", daemon.pid);
  nv.addString("configpath", daemon.configPath);
  if (daemon.nodeName !== undefined) nv.addString("nodename", daemon.nodeName);
  nv.addString("control", daemon.controlAddress);
  nv.addString("pidfile", daemon.pidfilePath);
  daemon.listenAddresses.forEach((address, index) => nv.addString(`listen${index}`, address));
}

/** Reads what a daemon says of itself; undefined where it says nothing. */
export function readDaemon(nv: Nv): DaemonReply | undefined {
  const pid = nv.i32("daemonpid");
  if (pid === undefined) return undefined;
  const listenAddresses: string[] = [];
  for (let index = 0; index < LISTEN_MAX; index++) {
    const address = nv.string(`listen${index}`);
    if (address === undefined) break;
    listenAddresses.push(address);
  }
  return {
    pid,
    configPath: nv.string("configpath") ?? "",
    nodeName: nv.string("nodename"),
    controlAddress: nv.string("control") ?? "",
    pidfilePath: nv.string("pidfile") ?? "",
    listenAddresses,
  };
}
