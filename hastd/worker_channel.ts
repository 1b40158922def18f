/**
 * What the main process and a worker say to each other: one JSON object per line, to the worker
 * on its standard input (whose end tells it that the parent has died), from the worker on its
 * standard output. u64 counters are decimal strings.
 * @module
 */
import type { ResourceConfig } from "../conf/config.ts";
import type { LogRecord } from "../base/log.ts";

/** What a secondary worker is given: both connections and what the primary said in step 2. */
export interface PeerHello {
  /** Descriptor of connection 1 (requests come in, the answer to step 2 goes out). */
  incomingFd: number;
  /** Descriptor of connection 2 (replies go out). */
  outgoingFd: number;
  /** For messages: `tcp4://1.2.3.4:5678`. */
  incomingPeer: string;
  outgoingPeer: string;
  protocolVersion: number;
  virgin: boolean;
  resuid: string;
  localcnt: string;
  remotecnt: string;
  /** Largest reply data or request the primary said it takes (our extension), or 0. */
  requestBytesMax: number;
}

/** The first line that a worker reads. */
export interface WorkerStart {
  type: "start";
  role: "primary" | "secondary";
  resource: ResourceConfig;
  debugLevel: number;
  /** Node name given by `-n`, for titles and messages. */
  nodeName: string | undefined;
  /** Path of the NBD Unix socket (primary). */
  nbdSocketPath: string;
  /** Secondary only. */
  peer?: PeerHello;
}

export type ToWorker =
  | WorkerStart
  | { type: "status"; id: number }
  | { type: "reload"; resource: ResourceConfig }
  | { type: "stop" };

export type HookEvent =
  | "connect"
  | "disconnect"
  | "syncstart"
  | "syncdone"
  | "syncintr"
  | "split-brain";

/** Figures of `hastctl list` and more. Source: control.md. */
export interface WorkerStatus {
  connected: boolean;
  dirtyBytes: number;
  extentSizeBytes: number;
  keepdirtyCount: number;
  reads: number;
  writes: number;
  deletes: number;
  flushes: number;
  activemapUpdates: number;
  readErrors: number;
  writeErrors: number;
  deleteErrors: number;
  flushErrors: number;
  idleQueue: number;
  localQueue: number;
  sendQueue: number;
  recvQueue: number;
  doneQueue: number;
}

export type FromWorker =
  /** The role is active: the provider is there (primary), the handshake is over (secondary). */
  | { type: "ready" }
  | { type: "status"; id: number; status: WorkerStatus }
  | { type: "log"; record: LogRecord }
  | { type: "event"; event: HookEvent };
