/**
 * What the two threads of a worker say to each other. The data thread is told by lines of JSON
 * (`hastd/command_pipe.ts`), so u64 counters are decimal strings there; it answers by postMessage.
 * @module
 */
import type { ResourceConfig } from "../conf/config.ts";
import type { PrimaryHello, SyncSource } from "../core/sync_decision.ts";
import type { MapLimits } from "../protocol/handshake.ts";
import type { Redial } from "./connector.ts";
import type { SessionLine } from "./session_line.ts";
import type { FromWorker, WorkerStart } from "./worker_channel.ts";

/** The first message of the main isolate, by postMessage. */
export interface DataThreadStart {
  readonly start: WorkerStart;
  /** Where commands come from. */
  readonly commandFd: number;
}

/** Counters as strings. */
export interface HelloLine {
  virgin: boolean;
  resuid: string;
  localcnt: string;
  remotecnt: string;
}

/** A pair of connections that has passed the handshake. The descriptors are the thread's now. */
export interface EstablishedLine {
  requestsFd: number;
  repliesFd: number;
  version: number;
  requestBytesMax: number;
  takesClaims: boolean;
  remoteAddress: string;
  /** What was said to the secondary. */
  hello: HelloLine;
  localcnt: string;
  remotecnt: string;
  virgin: boolean;
  syncSource: SyncSource;
  /**
   * The secondary's map, in pages that the thread releases: their address, and how many bytes of
   * them are the map. No map: undefined.
   */
  map: { address: string; byteCount: number } | undefined;
  /** Where the nodes share a secret. */
  session: SessionLine | undefined;
  /** Records of connection 1 that have been opened already. */
  answerRecords: number;
}

export type ToDataThread =
  /** Asks for the counters of the handshake; answered by `hello`. */
  | { type: "hello" }
  | { type: "established"; established: EstablishedLine }
  /** An NBD client has connected. */
  | { type: "client"; fd: number }
  | { type: "status"; id: number }
  | { type: "reload"; resource: ResourceConfig }
  | { type: "attach"; id: number }
  /** Ends: what is in progress is brought to its end first, within limits. */
  | { type: "stop" };

/** What a connector must know of the component. */
export interface Geometry {
  datasizeBytes: number;
  extentsizeBytes: number;
  mapLimits: MapLimits;
}

export type FromDataThread =
  /** The component is open, locked and read. */
  | { type: "opened"; geometry: Geometry }
  /** What the parent is told, word for word. */
  | { type: "tell"; message: FromWorker }
  | { type: "hello"; hello: PrimaryHello | undefined }
  /** There is no link any more. `refusal`: this node will not have it, and says why. */
  | { type: "linkLost"; redial: Redial; refusal?: string }
  /** `count` disk threads more are wanted for the ring in `memory`. */
  | { type: "diskThreads"; memory: SharedArrayBuffer; count: number }
  /** The thread has done its work; the process may end with this code. */
  | { type: "ended"; code: number }
  /** The thread has met a bug. */
  | { type: "crashed"; text: string };
