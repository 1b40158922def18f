/**
 * Decoding of the lines that a worker writes: the main process does not trust even its own
 * children, because a worker reads what strangers send.
 *
 * Source: hastd/worker_channel.ts.
 * @module
 */
import type { LogRecord } from "../base/log.ts";
import type { FromWorker, HookEvent, WorkerStatus } from "./worker_channel.ts";

/** Longest line that is taken from a worker, in UTF-16 units; a status has under 1000. */
export const WORKER_LINE_LENGTH_MAX = 64 * 1024;

const LEVELS: ReadonlySet<unknown> = new Set(["error", "warning", "info", "debug"]);
const EVENTS: ReadonlySet<unknown> = new Set([
  "connect",
  "disconnect",
  "syncstart",
  "syncdone",
  "syncintr",
  "split-brain",
]);
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
      return isEvent(value.event) ? { type: "event", event: value.event } : undefined;
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

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isEvent(value: unknown): value is HookEvent {
  return EVENTS.has(value);
}

function isLogRecord(value: unknown): value is LogRecord {
  return isRecord(value) && LEVELS.has(value.level) && isCount(value.debugLevel) &&
    typeof value.prefix === "string" && typeof value.message === "string";
}

function isStatus(value: unknown): value is WorkerStatus {
  return isRecord(value) && typeof value.connected === "boolean" &&
    COUNTERS.every((name) => isCount(value[name]));
}
