/**
 * The loop of the data thread: waits in poll(2), and does the work of each turn in batches.
 *
 * One turn: wait; timers that are due; everything that can be read, for which the core decides
 * what is to be done; what it wants sent, to the peer first, so that the other node works while
 * we do; the disk jobs queued so far; what their completions want sent. A turn allocates nothing.
 *
 * Source: poll(2).
 * @module
 */
import { invariant } from "../base/errors.ts";
import type { Timers } from "../core/ports.ts";
import { PollSet } from "../ffi/poll.ts";
import { TimerHeap } from "./timer_heap.ts";

/** Whoever waits for a descriptor. */
export interface Pollable {
  /** The descriptor is ready: bits of `POLL` (ffi/poll.ts). It may unregister any descriptor. */
  ready(revents: number): void;
}

/** Order in which what is to be sent is sent. */
export const enum FlushRank {
  /** The other node. */
  peer = 0,
  /** Clients. */
  client = 1,
}

/** Whoever has something to send. */
export interface Flushable {
  readonly flushRank: FlushRank;
  /** Sends what is queued; called once per {@link Reactor.queueFlush}. */
  flush(): void;
}

/** Work that is done between the two moments of sending: the component's jobs. */
export interface BatchWork {
  /** Something can be done now. */
  readonly pending: boolean;
  /** Does what was pending at the call; more may become pending by that. */
  runBatch(): void;
  /** The loop is about to wait: say false if it must not. */
  mayWait(): boolean;
  /** The loop no longer waits. */
  waited(): void;
}

/** Whoever wants to be called in the next turn. */
export interface Task {
  run(): void;
}

/** Batches of disk jobs in one turn; the rest waits for the next, so that nobody starves. */
const BATCHES_PER_TURN_MAX = 4;

/** Fills gaps in the tables, so that they hold one kind of element. */
const NOBODY: Pollable = { ready: () => {} };
const NO_FLUSH: Flushable = { flushRank: FlushRank.client, flush: () => {} };

/** A list that is emptied every turn and keeps its memory. */
class FlushList {
  readonly #items: Flushable[] = [];
  #count = 0;

  push(item: Flushable): void {
    this.#items[this.#count++] = item;
  }

  get empty(): boolean {
    return this.#count === 0;
  }

  /** Flushes all, those that join meanwhile too. */
  run(): void {
    for (let index = 0; index < this.#count; index++) {
      const item = this.#items[index];
      this.#items[index] = NO_FLUSH;
      item?.flush();
    }
    this.#count = 0;
  }
}

/** See the module. Everything in here belongs to the thread that calls {@link run}. */
export class Reactor implements Timers {
  readonly #set = new PollSet();
  /** By index in the set. */
  readonly #handlers: Pollable[] = [];
  /** Index in the set by descriptor, -1 for none. */
  readonly #slots: number[] = [];
  readonly #freeSlots: number[] = [];
  readonly #peerFlushes = new FlushList();
  readonly #clientFlushes = new FlushList();
  readonly #timers = new TimerHeap();
  #tasks: Task[] = [];
  #spareTasks: Task[] = [];
  #batch: BatchWork | undefined;
  #nowMs = performance.now();
  #stopped = false;

  /** Monotonic time in ms, as of the beginning of this turn. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /**
   * Calls `handler.ready` whenever `fd` is ready.
   *
   * @param fd Not registered yet; the caller unregisters it before it closes it.
   * @param events Bits of `POLL`; errors and hang-ups are always told.
   */
  register(fd: number, events: number, handler: Pollable): void {
    invariant((this.#slots[fd] ?? -1) === -1, "a descriptor is registered once");
    const slot = this.#freeSlots.pop() ?? this.#handlers.length;
    while (this.#slots.length <= fd) this.#slots.push(-1);
    this.#slots[fd] = slot;
    this.#handlers[slot] = handler;
    this.#set.set(slot, fd, events);
  }

  /** Changes what a registered descriptor waits for. */
  modify(fd: number, events: number): void {
    this.#set.setEvents(this.#slotOf(fd), events);
  }

  /** Forgets a registered descriptor; `ready` is not called for it any more, in this turn either. */
  unregister(fd: number): void {
    const slot = this.#slotOf(fd);
    this.#slots[fd] = -1;
    this.#handlers[slot] = NOBODY;
    this.#set.set(slot, -1, 0);
    this.#freeSlots.push(slot);
  }

  /** Has `item.flush` called once in this turn (or the next, outside of one). */
  queueFlush(item: Flushable): void {
    if (item.flushRank === FlushRank.peer) this.#peerFlushes.push(item);
    else this.#clientFlushes.push(item);
  }

  /** Has `task.run` called once at the beginning of the next turn, which does not wait. */
  queueTask(task: Task): void {
    this.#tasks.push(task);
  }

  /** Sets whose jobs are done in each turn; at most one. */
  setBatchWork(work: BatchWork): void {
    invariant(this.#batch === undefined, "there is one kind of batch work");
    this.#batch = work;
  }

  setTimer(delayMs: number, callback: () => void): number {
    return this.#timers.set(performance.now() + delayMs, callback);
  }

  clearTimer(timer: number): void {
    this.#timers.clear(timer);
  }

  /** Takes turns until {@link stop}. Blocks the thread. */
  run(): void {
    this.#stopped = false;
    while (!this.#stopped) this.turn(-1);
  }

  /** Ends {@link run} after this turn. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * One turn.
   *
   * @param waitMsMax How long to wait at most if there is nothing to do; -1 for no limit.
   */
  turn(waitMsMax: number): void {
    this.#wait(waitMsMax);
    this.#timers.runDue(this.#nowMs);
    this.#runTasks();
    this.#flushAll();
    for (let count = 0; count < BATCHES_PER_TURN_MAX && this.#batch?.pending === true; count++) {
      this.#batch.runBatch();
      this.#flushAll();
    }
  }

  #wait(waitMsMax: number): void {
    const batch = this.#batch;
    const waitMs = this.#waitMs(waitMsMax);
    const waiting = waitMs !== 0 && (batch === undefined || batch.mayWait());
    const count = this.#handlers.length;
    let readyCount = this.#set.poll(count, waiting ? waitMs : 0);
    if (waiting) batch?.waited();
    this.#nowMs = performance.now();
    for (let slot = 0; slot < count && readyCount > 0; slot++) {
      const revents = this.#set.revents(slot);
      if (revents === 0) continue;
      readyCount--;
      this.#handlers[slot]?.ready(revents);
    }
  }

  #waitMs(waitMsMax: number): number {
    const busy = this.#tasks.length > 0 || this.#batch?.pending === true ||
      !this.#peerFlushes.empty || !this.#clientFlushes.empty;
    if (busy) return 0;
    const dueMs = this.#timers.nextMs;
    if (dueMs === undefined) return waitMsMax;
    const waitMs = Math.max(0, Math.ceil(dueMs - performance.now()));
    return waitMsMax < 0 ? waitMs : Math.min(waitMs, waitMsMax);
  }

  #runTasks(): void {
    if (this.#tasks.length === 0) return;
    const tasks = this.#tasks;
    this.#tasks = this.#spareTasks;
    this.#spareTasks = tasks;
    for (const task of tasks) task.run();
    tasks.length = 0;
  }

  #flushAll(): void {
    this.#peerFlushes.run();
    this.#clientFlushes.run();
    // A client's loss may have given the peer something to do.
    this.#peerFlushes.run();
  }

  #slotOf(fd: number): number {
    const slot = this.#slots[fd] ?? -1;
    invariant(slot !== -1, "a descriptor is registered");
    return slot;
  }
}
