/**
 * `hastctl status --json` and `list --json`: everything that the daemon tells, as one document.
 *
 * The fields are described in docs/hastctl.8. Within version 1 fields may be added; none changes
 * its meaning or disappears. What is not known, or does not apply, is null. Numbers that need
 * more than 53 bits are decimal strings.
 * @module
 */
import { strerror } from "../base/errno.ts";
import type { Config } from "../conf/config.ts";
import type {
  ConnectionReply,
  DaemonReply,
  StatusExtension,
  SyncReply,
} from "../protocol/control_extension.ts";
import type { ControlReply, StatusReply, WorkerFigures } from "../protocol/control_reply.ts";
import type { Io } from "./io.ts";
import { askStatus, firstError } from "./status.ts";

/** Raised when a field changes its meaning or disappears. */
export const JSON_VERSION = 1;

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
type JsonObject = Record<string, Json>;

/**
 * Prints the document.
 *
 * @param names As on the command line: none, or `all` as the first, means every resource.
 * @returns The exit code: 0, or the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked.
 */
export async function printJson(
  config: Config,
  names: readonly string[],
  io: Io,
): Promise<number> {
  const reply = await askStatus(config, names, true);
  io.stdout(`${JSON.stringify(statusDocument(reply), undefined, 2)}\n`);
  return firstError(reply.resources);
}

/** The document as an object. */
export function statusDocument(reply: ControlReply<StatusReply>): JsonObject {
  return {
    version: JSON_VERSION,
    daemon: reply.daemon === undefined ? null : daemonObject(reply.daemon),
    resources: reply.resources.map(resourceObject),
  };
}

function daemonObject(daemon: DaemonReply): JsonObject {
  return {
    pid: daemon.pid,
    configPath: daemon.configPath,
    nodeName: daemon.nodeName ?? null,
    control: daemon.controlAddress,
    pidfile: daemon.pidfilePath,
    listen: [...daemon.listenAddresses],
  };
}

function resourceObject(reply: StatusReply): JsonObject {
  if (reply.error !== 0) return { name: reply.resource, error: reply.error };
  const { extension, worker } = reply;
  return {
    name: reply.resource,
    error: 0,
    role: reply.role,
    status: worker?.status ?? null,
    workerPid: reply.workerpid === 0 ? null : reply.workerpid,
    config: configObject(reply, extension),
    connection: extension === undefined ? null : connectionObject(extension.connection),
    localComponent: componentObject(extension?.localComponent),
    extentSizeBytes: worker?.figures.extentSizeBytes ?? null,
    keepdirtyCount: worker?.figures.keepdirtyCount ?? null,
    dirtyBytes: worker?.figures.dirtyBytes ?? null,
    staleBytes: extension?.staleBytes ?? null,
    sync: extension?.sync === undefined ? null : syncObject(extension.sync),
    resuid: decimal(extension?.resuid),
    localcnt: decimal(extension?.localcnt),
    remotecnt: decimal(extension?.remotecnt),
    statistics: worker === undefined ? null : statisticsObject(worker.figures),
    queues: worker === undefined ? null : queuesObject(worker.figures),
  };
}

function configObject(reply: StatusReply, extension: StatusExtension | undefined): JsonObject {
  return {
    provider: reply.provname,
    providerNbd: extension?.providerNbd ?? null,
    local: reply.localpath,
    remote: reply.remoteaddr,
    source: reply.sourceaddr ?? null,
    replication: reply.replication,
    checksum: reply.checksum,
    compression: reply.compression,
    timeoutSeconds: extension?.timeoutSeconds ?? null,
    exec: extension?.execPath ?? null,
    metaflush: extension?.metaflush ?? null,
    syncRateBytesPerSecond: extension?.syncRateBytesPerSecond ?? null,
    secret: extension?.secretPaths ?? null,
  };
}

function connectionObject({ state, reason, message, sinceMs }: ConnectionReply): JsonObject {
  return {
    state,
    reason: reason ?? null,
    message: message ?? null,
    since: sinceMs === undefined ? null : isoTime(sinceMs),
  };
}

/** UTC; null for a time that no calendar has. */
function isoTime(unixMs: number): string | null {
  const time = new Date(unixMs);
  return Number.isNaN(time.getTime()) ? null : time.toISOString();
}

function componentObject(component: StatusExtension["localComponent"]): Json {
  if (component === undefined) return null;
  const { inService, errno } = component;
  return {
    state: inService ? "in-service" : "out-of-service",
    errno: errno === 0 ? null : errno,
    message: errno === 0 ? null : strerror(errno),
  };
}

function syncObject(sync: SyncReply): JsonObject {
  return {
    active: sync.active,
    direction: sync.direction,
    totalBytes: sync.totalBytes,
    copiedBytes: sync.copiedBytes,
    bytesPerSecond: sync.bytesPerSecond,
    secondsLeft: sync.secondsLeft ?? null,
  };
}

function decimal(value: bigint | undefined): string | null {
  return value === undefined ? null : String(value);
}

function statisticsObject(figures: WorkerFigures): JsonObject {
  return {
    reads: figures.reads,
    writes: figures.writes,
    deletes: figures.deletes,
    flushes: figures.flushes,
    activemapUpdates: figures.activemapUpdates,
    readErrors: figures.readErrors,
    writeErrors: figures.writeErrors,
    deleteErrors: figures.deleteErrors,
    flushErrors: figures.flushErrors,
  };
}

function queuesObject(figures: WorkerFigures): JsonObject {
  return {
    local: figures.localQueue,
    send: figures.sendQueue,
    recv: figures.recvQueue,
    done: figures.doneQueue,
    idle: figures.idleQueue,
  };
}
