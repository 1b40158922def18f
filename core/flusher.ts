/**
 * When extents become clean: after a flush of both nodes that began when what was written to them
 * was over. A flush of the user counts; where there is none, we flush by ourselves.
 *
 * Source: replication.md (activemap on the primary).
 * @module
 */
import type { Activemap } from "./activemap.ts";
import type { MapWriter } from "./map_writer.ts";
import type { Timers } from "./ports.ts";
import type { RemoteSide } from "./remote_side.ts";
import type { Transfer } from "./transfer.ts";

/** How long extents may stay dirty only because the nodes have not flushed. */
const FLUSH_INTERVAL_MS = 2000;

export interface FlusherEnv {
  readonly activemap: Activemap;
  readonly mapWriter: MapWriter;
  readonly remote: RemoteSide;
  readonly timers: Timers;
  /** Starts a flush that no user waits for. */
  readonly flush: () => Transfer;
  /** The flush after a synchronisation is over. */
  readonly finallyFlushed: (succeeded: boolean) => void;
}

export class Flusher {
  readonly #env: FlusherEnv;
  #timer = 0;
  /** The flush after which a synchronisation counts. */
  #final: Transfer | undefined = undefined;

  constructor(env: FlusherEnv) {
    this.#env = env;
  }

  /** Both nodes are about to be flushed. */
  begin(flush: Transfer): void {
    flush.tracksFlush = this.#env.activemap.beginFlush();
  }

  /** A flush is over, of one node or both. */
  over(flush: Transfer): void {
    const flushed = flush.localSucceeded && flush.remoteSucceeded;
    if (flush.tracksFlush) {
      this.#env.activemap.endFlush(flushed);
      this.#env.mapWriter.kick();
    }
    if (flush !== this.#final) return;
    this.#final = undefined;
    this.#env.finallyFlushed(flushed);
  }

  /** A request is over: what it left unflushed is flushed after a while. */
  schedule(): void {
    if (this.#timer !== 0 || !this.#wanted) return;
    this.#timer = this.#env.timers.setTimer(FLUSH_INTERVAL_MS, () => {
      this.#timer = 0;
      if (this.#wanted) this.#env.flush();
    });
  }

  get #wanted(): boolean {
    return this.#env.remote.link !== undefined && this.#env.activemap.coolingCount > 0;
  }

  /** Everything is copied; it counts once both nodes have flushed it. */
  flushFinally(): void {
    this.#final = this.#env.flush();
  }

  /** The flush under way, if any, ends no synchronisation. */
  linkLost(): void {
    this.#final = undefined;
  }
}
