/**
 * What the decisions in `core/` need of the outside. The data thread implements these over
 * system calls (`hastd/`), the tests over memory. No port call may re-enter its caller: results
 * come later, from the loop, as `diskDone()` or as an event.
 *
 * Errors are FreeBSD errno numbers (`base/errno.ts`), 0 for success.
 * @module
 */

import { ERRNO } from "../base/errno.ts";

/** Memory outside the heap that both JavaScript and system calls can use. */
export interface IoBuffer {
  /** A view of the whole buffer. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Address of `bytes[0]` for system calls; 0n in tests. */
  readonly address: bigint;
}

/** Where buffers come from and go back to; sizes are rounded up to a size class. */
export interface BufferPool {
  /** A buffer of at least `byteCount` bytes, its content undefined. */
  take(byteCount: number): IoBuffer;
  /** Gives a buffer back; nobody may hold it any longer. */
  give(buffer: IoBuffer): void;
}

/** What can be asked of the local component. */
export const enum DiskOp {
  read = 1,
  write = 2,
  /** Discard: the range reads as zeros afterwards where the component can do that. */
  delete = 3,
  /** Everything written before is on stable storage afterwards. */
  flush = 4,
  /** Write zeros without data, by hole punching or the like where possible. */
  zero = 5,
}

/** One operation on the component. The caller owns the object and may use it again. */
export interface DiskJob {
  readonly op: DiskOp;
  /** Bytes from the start of the component (metadata included); 0 for flush. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Data for read and write. */
  readonly buffer: IoBuffer | undefined;
  /** Where in `buffer` the data starts. */
  readonly bufferOffsetBytes: number;
  /** The operation is over: 0 or an errno. A short read or write counts as EIO. */
  diskDone(errno: number): void;
}

/** The result of a flush where a component without a cache to flush counts as flushed. */
export function unlessUnsupported(flushErrno: number): number {
  return flushErrno === ERRNO.EOPNOTSUPP ? 0 : flushErrno;
}

/** The local component. Jobs may complete in any order, and only after `submit` has returned. */
export interface Disk {
  submit(job: DiskJob): void;
}

/** Requests that travel between nodes. Source: wire.md, requests. */
export const enum RemoteCommand {
  read = 1,
  write = 2,
  delete = 3,
  flush = 4,
  keepalive = 5,
  /**
   * Ours, sent only to a peer that says it understands it: the primary's component has failed,
   * the secondary alone has the newest data and must say so in its counters and map.
   */
  claim = 6,
}

/** One request to the other node, owned by the core until its last reply. */
export interface RemoteRequest {
  readonly command: RemoteCommand;
  /** Unique among the requests in flight; 1 and up. */
  readonly seq: number;
  /** Bytes from the start of the data (metadata excluded). */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** WRITE: ask for two replies. */
  readonly memsync: boolean;
  /** WRITE: the data to send; undefined with `zeros`. READ: where the reply's data goes. */
  readonly buffer: IoBuffer | undefined;
  readonly bufferOffsetBytes: number;
  /** WRITE of zeros only: no buffer is needed. */
  readonly zeros: boolean;
}

/**
 * One established pair of connections to a secondary. A link is used until it is closed and
 * never again; a reply that comes through it carries it along, so that an old one is recognised.
 */
export interface PeerLink {
  /** Largest READ or WRITE that this peer takes, in bytes. */
  readonly requestBytesMax: number;
  /** Protocol version that was negotiated, 1 or 2. */
  readonly protocolVersion: number;
  /** The peer understands {@link RemoteCommand.claim}. */
  readonly takesClaims: boolean;
  /** Queues a request; `buffer` is in use until the last reply or until the link is closed. */
  send(request: RemoteRequest): void;
  /** Bytes queued but not yet taken by the kernel. */
  readonly queuedBytes: number;
  /** Ends both connections and forgets what is queued. */
  close(): void;
}

/** Timers of the loop. */
export interface Timers {
  /** Calls back once after at least `delayMs`. */
  setTimer(delayMs: number, callback: () => void): number;
  /** Forgets a timer; unknown numbers are ignored. */
  clearTimer(timer: number): void;
}
