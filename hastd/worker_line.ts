/**
 * Decoding of the lines that a worker writes: the main process does not trust even its own
 * children, because a worker reads what strangers send.
 *
 * Source: hastd/worker_channel.ts.
 * @module
 */
import type { LogRecord } from "../base/log.ts";
import type {
  ConnectionStatus,
  FromWorker,
  HookEvent,
  LocalComponentStatus,
  RefusalReason,
  SyncStatus,
  WorkerStatus,
} from "./worker_channel.ts";

/** Longest line that is taken from a worker, in UTF-16 units; a status has under 3000. */
export const WORKER_LINE_LENGTH_MAX = 64 * 1024;

const LEVELS: ReadonlySet<unknown> = new Set(["error", "warning", "info", "debug"]);
const EVENTS: ReadonlySet<unknown> = new Set([
  "connect",
  "disconnect",
  "syncstart",
  "syncdone",
  "syncintr",
  "split-brain",
  "localfail",
]);
const REFUSALS: ReadonlySet<unknown> = new Set(["split-brain", "resuid-mismatch", "other"]);
const CONNECTION_STATES: ReadonlySet<unknown> = new Set(["connecting", "connected", "refused"]);
const DIRECTIONS: ReadonlySet<unknown> = new Set(["to-peer", "from-peer", "both"]);
/** What the wire to hastctl holds. */
const ERRNO_MAX = 0x7fffffff;
const U64_MAX = (1n << 64n) - 1n;
const COUNTERS: readonly (keyof WorkerStatus)[] = [
  "dirtyBytes",
  "extentSizeBytes",
  "keepdirtyCount",
  "reads",
  "writes",
  "deletes",
  "flushes",
  "activemapUpdates",
  "readErrors",
  "writeErrors",
  "deleteErrors",
  "flushErrors",
  "idleQueue",
  "localQueue",
  "sendQueue",
  "recvQueue",
  "doneQueue",
];

/** Decodes one line; undefined means that it is not one of {@link FromWorker}. */
export function parseWorkerLine(line: string): FromWorker | undefined {
  if (line.length > WORKER_LINE_LENGTH_MAX) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isRecord(value)) return undefined;
  switch (value.type) {
    case "ready":
      return { type: "ready" };
    case "event":
      return isEvent(value.event) && isOptional(value.reason, isText)
        ? { type: "event", event: value.event, reason: value.reason }
        : undefined;
    case "refused":
      return isRefusal(value.reason) && isText(value.message)
        ? { type: "refused", reason: value.reason, message: value.message }
        : undefined;
    case "attached":
      return readAttached(value);
    case "log":
      return isLogRecord(value.record) ? { type: "log", record: value.record } : undefined;
    case "status":
      return isCount(value.id) && isStatus(value.status)
        ? { type: "status", id: value.id, status: value.status }
        : undefined;
    default:
      return undefined;
  }
}

function readAttached({ id, wasOutOfService, errno }: Record<string, unknown>) {
  return isCount(id) && typeof wasOutOfService === "boolean" && isErrno(errno)
    ? { type: "attached" as const, id, wasOutOfService, errno }
    : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isErrno(value: unknown): value is number {
  return isCount(value) && value <= ERRNO_MAX;
}

function isEvent(value: unknown): value is HookEvent {
  return EVENTS.has(value);
}

function isLogRecord(value: unknown): value is LogRecord {
  return isRecord(value) && LEVELS.has(value.level) && isCount(value.debugLevel) &&
    typeof value.prefix === "string" && typeof value.message === "string";
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isRefusal(value: unknown): value is RefusalReason {
  return REFUSALS.has(value);
}

function isOptional<T>(
  value: unknown,
  isOne: (value: unknown) => value is T,
): value is T | undefined {
  return value === undefined || isOne(value);
}

function isStatus(value: unknown): value is WorkerStatus {
  return isRecord(value) && typeof value.connected === "boolean" &&
    COUNTERS.every((name) => isCount(value[name])) &&
    isOptional(value.connection, isConnection) &&
    isOptional(value.localComponent, isLocalComponent) &&
    isOptional(value.staleBytes, isCount) && isOptional(value.sync, isSync) &&
    [value.resuid, value.localcnt, value.remotecnt].every((each) => isOptional(each, isU64));
}

function isConnection(value: unknown): value is ConnectionStatus {
  return isRecord(value) && CONNECTION_STATES.has(value.state) &&
    isOptional(value.reason, isRefusal) && isOptional(value.message, isText) &&
    isCount(value.sinceMs);
}

function isLocalComponent(value: unknown): value is LocalComponentStatus {
  return isRecord(value) && typeof value.inService === "boolean" && isErrno(value.errno);
}

function isSync(value: unknown): value is SyncStatus {
  return isRecord(value) && typeof value.active === "boolean" && DIRECTIONS.has(value.direction) &&
    [value.totalBytes, value.copiedBytes, value.bytesPerSecond].every(isCount) &&
    isOptional(value.secondsLeft, isCount);
}

function isU64(value: unknown): value is string {
  return typeof value === "string" && /^[0-9]{1,20}$/.test(value) && BigInt(value) <= U64_MAX;
}
