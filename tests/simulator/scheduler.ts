/**
 * Time and order of a simulation: a heap of things to do, popped in order of their time.
 * @module
 */
import type { Timers } from "../../core/ports.ts";

interface Task {
  atMs: number;
  order: number;
  run: () => void;
}

export class Scheduler implements Timers {
  nowMs = 0;
  #order = 0;
  readonly #heap: Task[] = [];
  readonly #cancelled = new Set<number>();

  after(delayMs: number, run: () => void): number {
    const task = { atMs: this.nowMs + delayMs, order: ++this.#order, run };
    this.#heap.push(task);
    this.#up(this.#heap.length - 1);
    return task.order;
  }

  setTimer(delayMs: number, callback: () => void): number {
    return this.after(delayMs, callback);
  }

  clearTimer(timer: number): void {
    if (timer !== 0) this.#cancelled.add(timer);
  }

  /** Runs the next task; false when there is none. */
  step(): boolean {
    const task = this.#pop();
    if (task === undefined) return false;
    if (this.#cancelled.delete(task.order)) return true;
    this.nowMs = task.atMs;
    task.run();
    return true;
  }

  #pop(): Task | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (first === undefined || last === undefined) return undefined;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#down(0);
    }
    return first;
  }

  #less(a: number, b: number): boolean {
    const x = this.#heap[a];
    const y = this.#heap[b];
    if (x === undefined || y === undefined) return false;
    return x.atMs < y.atMs || (x.atMs === y.atMs && x.order < y.order);
  }

  #swap(a: number, b: number): void {
    const x = this.#heap[a];
    const y = this.#heap[b];
    if (x === undefined || y === undefined) return;
    this.#heap[a] = y;
    this.#heap[b] = x;
  }

  #up(index: number): void {
    for (let i = index; i > 0;) {
      const parent = (i - 1) >> 1;
      if (!this.#less(i, parent)) return;
      this.#swap(i, parent);
      i = parent;
    }
  }

  #down(index: number): void {
    for (let i = index;;) {
      let least = i;
      if (this.#less(2 * i + 1, least)) least = 2 * i + 1;
      if (this.#less(2 * i + 2, least)) least = 2 * i + 2;
      if (least === i) return;
      this.#swap(i, least);
      i = least;
    }
  }
}
