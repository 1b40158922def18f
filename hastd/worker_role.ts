/**
 * What the two roles of a data thread have in common.
 * @module
 */
import type { Log } from "../base/log.ts";
import type { WorkerStart } from "./worker_channel.ts";
import type { IoBuffer } from "../core/ports.ts";
import type { IoStatistics } from "../core/statistics.ts";
import type { Arena } from "../ffi/memory.ts";
import type { LocalComponent } from "./local_component.ts";
import type { Reactor } from "./reactor.ts";
import type { FromWorker, WorkerStatus } from "./worker_channel.ts";
import type { WorkerComponent } from "./worker_component.ts";
import type { FromDataThread, ToDataThread } from "./worker_messages.ts";

/** Requests that a worker of the original has objects for; `idle` in its figures counts down. */
const REQUESTS_SHOWN = 256;

export interface RoleEnv {
  readonly start: WorkerStart;
  readonly reactor: Reactor;
  readonly arena: Arena;
  readonly disk: LocalComponent;
  readonly opened: WorkerComponent;
  readonly log: Log;
  /** Tells the main isolate. */
  readonly post: (message: FromDataThread) => void;
  /** Tells the parent, through the main isolate. */
  readonly tell: (message: FromWorker) => void;
  /** Ends the loop; the process then exits with this code. */
  readonly end: (code: number) => void;
}

/** A role at work. */
export interface WorkerRole {
  command(command: ToDataThread): void;
}

/** Requests in the stages of the original's queues. */
export interface QueueFigures {
  local: number;
  send: number;
  recv: number;
  inFlight: number;
}

/** The figures of `hastctl list` that both roles have. */
export function commonStatus(
  env: RoleEnv,
  statistics: IoStatistics,
  queues: QueueFigures,
): WorkerStatus {
  const { metadata } = env.opened;
  return {
    connected: true,
    dirtyBytes: 0,
    extentSizeBytes: metadata.extentsizeBytes,
    keepdirtyCount: metadata.keepdirtyCount,
    reads: statistics.reads,
    writes: statistics.writes,
    deletes: statistics.deletes,
    flushes: statistics.flushes,
    activemapUpdates: 0,
    readErrors: statistics.readErrors,
    writeErrors: statistics.writeErrors,
    deleteErrors: statistics.deleteErrors,
    flushErrors: statistics.flushErrors,
    idleQueue: Math.max(0, REQUESTS_SHOWN - queues.inFlight),
    localQueue: queues.local,
    sendQueue: queues.send,
    recvQueue: queues.recv,
    doneQueue: 0,
  };
}

/** Memory for the whole activemap. */
export function takeMapBuffer(env: RoleEnv): IoBuffer {
  return env.arena.take(env.opened.map.length);
}
