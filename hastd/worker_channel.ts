/**
 * What the main process and a worker say to each other: one JSON object per line, to the worker
 * on its standard input (whose end tells it that the parent has died), from the worker on its
 * standard output. u64 counters are decimal strings.
 * @module
 */
import type { ResourceConfig } from "../conf/config.ts";
import type { LogRecord } from "../base/log.ts";
import type { SessionLine } from "./session_line.ts";

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
  /** Where the nodes share a secret: what both connections carry is sealed with its keys. */
  session?: SessionLine | undefined;
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
  /** Bring the local component back; answered by `attached` with the same id. */
  | { type: "attach"; id: number }
  | { type: "stop" };

export type HookEvent =
  | "connect"
  | "disconnect"
  | "syncstart"
  | "syncdone"
  | "syncintr"
  | "split-brain"
  /** The local component has been taken out of service. */
  | "localfail";

/** Why two nodes do not connect although they reach each other. */
export type RefusalReason = "split-brain" | "resuid-mismatch" | "other";

/** How a worker stands to the other node. */
export interface ConnectionStatus {
  /** `refused`: the last attempt was turned down, by either node; others follow. */
  state: "connecting" | "connected" | "refused";
  /** Of `refused` only. */
  reason?: RefusalReason;
  /** For people: what the other node said, or why the last attempt failed. */
  message?: string;
  /** Since when `state` and `reason` are as they are, in milliseconds of Unix time. */
  sinceMs: number;
}

/** What became of the local component. */
export interface LocalComponentStatus {
  /** False: it has failed and is not used until `attach` or a change of role. */
  inService: boolean;
  /** FreeBSD's number of what made it fail; 0 while it is in service. */
  errno: number;
}

/** A synchronisation, or what is known of the last one. */
export interface SyncStatus {
  active: boolean;
  /** `to-peer`: the other node is out of date; `from-peer`: this one; `both`: each in part. */
  direction: "to-peer" | "from-peer" | "both";
  /** What there was to copy at its start and what has been added since. */
  totalBytes: number;
  copiedBytes: number;
  /** Of late; 0 where nothing moves. */
  bytesPerSecond: number;
  /** Whole seconds at that rate; absent where nobody can tell. */
  secondsLeft?: number;
}

/**
 * Figures of `hastctl list` and more, whole numbers all. What is optional is shown as unknown where
 * it is missing.
 * Source: control.md.
 */
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
  connection?: ConnectionStatus;
  localComponent?: LocalComponentStatus;
  /** What one of the nodes is known to lack. */
  staleBytes?: number;
  /** Absent where there is nothing to copy and has not been since the nodes connected. */
  sync?: SyncStatus;
  /** Counters of this node, as decimal strings of u64. */
  resuid?: string;
  localcnt?: string;
  remotecnt?: string;
}

export type FromWorker =
  /** The role is active: the provider is there (primary), the handshake is over (secondary). */
  | { type: "ready" }
  | { type: "status"; id: number; status: WorkerStatus }
  | { type: "log"; record: LogRecord }
  /** Runs the hook. `reason`, if there is one, is its HAST_REASON: a few words. */
  | { type: "event"; event: HookEvent; reason?: string }
  /**
   * A handshake was turned down, by this node or by the other. The main process remembers it until
   * the nodes are connected, because a secondary's worker ends now.
   */
  | { type: "refused"; reason: RefusalReason; message: string }
  /** `wasOutOfService`: there was something to do; `errno`: why it could not be done, or 0. */
  | { type: "attached"; id: number; wasOutOfService: boolean; errno: number };
