/**
 * The NBD front: offers a target to NBD clients, any number of connections at a time.
 *
 * It is part of the data thread; connections are accepted elsewhere and handed over as
 * descriptors. What is offered is described in docs/nbd.md.
 *
 * Source: nbd.md; doc/proto.md of the NetworkBlockDevice/nbd project.
 * @module
 */
import { HastError, invariant } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { BufferPool } from "../core/ports.ts";
import { USER_REQUEST_BYTES_MAX } from "../core/request.ts";
import { closeSocket, setKeepAlive, setNoDelay } from "../ffi/socket.ts";
import { NBD_FLAG } from "../protocol/nbd.ts";
import type { BlockTarget } from "./block_target.ts";
import { NBD_RESERVE_BYTES, NbdBudget, type NbdBufferPool } from "./nbd_budget.ts";
import { type ConnectionOwner, NbdConnection } from "./nbd_connection.ts";
import type { NbdShared } from "./nbd_executor.ts";
import type { NbdExport } from "./nbd_negotiation.ts";
import { FlushRank, type Reactor, type Task } from "./reactor.ts";
import { type StreamHandler, StreamSocket } from "./stream_socket.ts";

/** Most connections at a time. */
export const NBD_CONNECTIONS_MAX = 256;
/** Most memory that all clients together fill, unless the front is told otherwise. */
export const NBD_BUFFER_BYTES_MAX = 128 * 1024 * 1024;
/** Input of one connection: holds the longest option, and a turn's worth of small requests. */
export const NBD_INPUT_BYTES = 64 * 1024;
/** While somebody waits for memory, how often it is looked for. */
const RETRY_MS = 20;
/** A client that neither reads nor writes for so long, while others wait for its memory, is lost. */
export const NBD_STALL_MS = 30_000;
/** When the kernel gives up on a silent TCP client: after two minutes. */
const KEEP_ALIVE = { idleSeconds: 60, intervalSeconds: 10, probeCount: 6 };

const PREFERRED_BYTES = 4096;

/** What a front needs. */
export interface FrontNbdOptions {
  /** The export's name: the resource's. */
  readonly name: string;
  /** For human beings. */
  readonly description: string;
  readonly target: BlockTarget;
  readonly reactor: Reactor;
  /** Beside the buffers of `bufferBytesMax`, each connection takes about 200 KiB from it. */
  readonly buffers: BufferPool & NbdBufferPool;
  readonly log: Log;
  /** Most memory for the data of requests; at least 64 MiB. */
  readonly bufferBytesMax?: number;
  /** {@link NBD_STALL_MS} unless told otherwise. */
  readonly stallMs?: number;
}

/** See the module. */
export class FrontNbd implements ConnectionOwner {
  readonly offered: NbdExport;
  readonly shared: NbdShared;
  readonly #options: FrontNbdOptions;
  /** In the order in which they came. */
  readonly #connections = new Set<NbdConnection>();
  /** Bytes moved by each connection when the time of {@link NBD_STALL_MS} began. */
  readonly #movedBytes = new Map<NbdConnection, number>();
  #stallSinceMs = 0;
  #retryTimer: number | undefined = undefined;
  #shuttingDown = false;
  #closed: () => void = () => {};

  constructor(options: FrontNbdOptions) {
    const { target, buffers, bufferBytesMax = NBD_BUFFER_BYTES_MAX } = options;
    this.#options = options;
    this.offered = exportOf(options);
    this.shared = {
      target,
      budget: new NbdBudget(buffers, bufferBytesMax, () => this.#watchContention()),
      freePieces: [],
      underWayCount: 0,
    };
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  get shuttingDown(): boolean {
    return this.#shuttingDown;
  }

  /**
   * Takes over a connected socket, TCP or Unix. Where there are too many connections, the oldest
   * one that has not finished its negotiation makes room; if there is none, the new one is closed.
   */
  addConnection(fd: number): void {
    if (!this.#makeRoom()) {
      this.#options.log.warning(
        `Refused an NBD client: there are ${NBD_CONNECTIONS_MAX} connections.`,
      );
      return closeSocket(fd);
    }
    // Unix sockets know neither of these, nor need them.
    setNoDelay(fd, true);
    setKeepAlive(fd, KEEP_ALIVE);
    try {
      this.#connections.add(new NbdConnection(this, (handler) => this.#open(fd, handler)));
    } catch (error) {
      if (!(error instanceof HastError)) throw error;
      this.#options.log.warning(`Refused an NBD client: ${error.message}`);
      closeSocket(fd);
    }
  }

  /**
   * The provider goes away: what the target has is still answered, everything else gets
   * ESHUTDOWN, then the connections end.
   *
   * @param closed Called once when the last connection has ended; a client that does not read
   * its replies can delay that until {@link close}.
   */
  shutdown(closed: () => void): void {
    invariant(!this.#shuttingDown, "a front is shut down once");
    this.#shuttingDown = true;
    this.#closed = closed;
    for (const connection of this.#connections) connection.shutdown();
    this.#options.reactor.queueTask(this.#endTask);
  }

  /** Ends all connections now; what the target still has is thrown away when it is done. */
  close(): void {
    this.#shuttingDown = true;
    for (const connection of [...this.#connections]) connection.close();
  }

  // ---- for connections ----

  queueTask(task: Task): void {
    this.#options.reactor.queueTask(task);
  }

  progressed(): void {
    if (this.#shuttingDown && this.shared.underWayCount === 0) this.queueTask(this.#endTask);
  }

  connectionClosed(connection: NbdConnection): void {
    this.#connections.delete(connection);
    this.#movedBytes.delete(connection);
    this.#tellClosed();
  }

  /** Once the target has nothing any more, connections end. */
  readonly #endTask: Task = {
    run: () => {
      if (this.shared.underWayCount > 0) return;
      for (const connection of [...this.#connections]) connection.end();
      this.#tellClosed();
    },
  };

  #tellClosed(): void {
    if (!this.#shuttingDown || this.#connections.size > 0) return;
    const closed = this.#closed;
    this.#closed = () => {};
    closed();
  }

  #open(fd: number, handler: StreamHandler): StreamSocket {
    const { reactor, buffers } = this.#options;
    const rank = FlushRank.client;
    return new StreamSocket(fd, { reactor, buffers, rank, handler, inputBytes: NBD_INPUT_BYTES });
  }

  #makeRoom(): boolean {
    if (this.#connections.size < NBD_CONNECTIONS_MAX) return true;
    for (const connection of this.#connections) {
      if (!connection.negotiating) continue;
      connection.close();
      return true;
    }
    return false;
  }

  // ---- memory ----

  /** Somebody waits for memory: looks again and again, and for clients that sit on theirs. */
  #watchContention(): void {
    if (this.#retryTimer !== undefined) return;
    this.#beginStallTime();
    this.#armRetry();
  }

  #armRetry(): void {
    this.#retryTimer = this.#options.reactor.setTimer(RETRY_MS, () => this.#retry());
  }

  #retry(): void {
    this.#retryTimer = undefined;
    if (!this.shared.budget.contended) return;
    const { reactor, stallMs = NBD_STALL_MS } = this.#options;
    if (reactor.nowMs - this.#stallSinceMs >= stallMs) {
      this.#endStalled();
      this.#beginStallTime();
    }
    this.shared.budget.wake();
    this.#armRetry();
  }

  #beginStallTime(): void {
    this.#stallSinceMs = this.#options.reactor.nowMs;
    this.#movedBytes.clear();
    for (const connection of this.#connections) {
      this.#movedBytes.set(connection, connection.movedBytes);
    }
  }

  #endStalled(): void {
    for (const [connection, movedBytes] of this.#movedBytes) {
      const stalled = connection.heldBytes > NBD_RESERVE_BYTES && connection.waitsForClient &&
        connection.movedBytes === movedBytes;
      if (!stalled) continue;
      this.#options.log.warning(
        `Ended an NBD connection that did nothing for ${
          NBD_STALL_MS / 1000
        } s while others waited.`,
      );
      connection.close();
    }
  }
}

function exportOf({ name, description, target }: FrontNbdOptions): NbdExport {
  const flags = NBD_FLAG.hasFlags | NBD_FLAG.sendFlush | NBD_FLAG.sendFua | NBD_FLAG.sendTrim |
    NBD_FLAG.sendWriteZeroes | NBD_FLAG.sendFastZero | NBD_FLAG.canMultiConn | NBD_FLAG.sendCache;
  return {
    name,
    description,
    sizeBytes: target.sizeBytes,
    flags,
    structuredFlags: flags | NBD_FLAG.sendDf,
    blockSizes: {
      minimumBytes: target.sectorBytes,
      preferredBytes: Math.max(PREFERRED_BYTES, target.sectorBytes),
      maximumBytes: USER_REQUEST_BYTES_MAX,
    },
  };
}
