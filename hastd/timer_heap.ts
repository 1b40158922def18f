/**
 * Timers of the loop: a binary heap by due time.
 *
 * Cleared timers stay in the heap until they are due: what is cleared often is better left to run
 * and to look for itself whether there is anything to do.
 * @module
 */

interface Timer {
  readonly dueMs: number;
  /** Counts up: the order of timers that are due at the same time. */
  readonly id: number;
  /** undefined once cleared. */
  callback: (() => void) | undefined;
}

export class TimerHeap {
  readonly #heap: Timer[] = [];
  readonly #byId = new Map<number, Timer>();
  #lastId = 0;

  /** When the next timer is due; undefined if there is none. */
  get nextMs(): number | undefined {
    return this.#heap[0]?.dueMs;
  }

  /** Calls back once at `dueMs` or later. Returns a number for {@link clear}, 1 and up. */
  set(dueMs: number, callback: () => void): number {
    const timer: Timer = { dueMs, id: ++this.#lastId, callback };
    this.#byId.set(timer.id, timer);
    this.#heap.push(timer);
    this.#siftUp(this.#heap.length - 1);
    return timer.id;
  }

  /** Forgets a timer; unknown numbers are ignored. */
  clear(id: number): void {
    const timer = this.#byId.get(id);
    if (timer === undefined) return;
    timer.callback = undefined;
    this.#byId.delete(id);
    while (this.#heap[0] !== undefined && this.#heap[0].callback === undefined) this.#pop();
  }

  /** Calls back all that is due at `nowMs`; timers set meanwhile wait for the next call. */
  runDue(nowMs: number): void {
    const lastId = this.#lastId;
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined || first.dueMs > nowMs || first.id > lastId) return;
      this.#pop();
      this.#byId.delete(first.id);
      first.callback?.();
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#siftDown();
  }

  #siftUp(index: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#swapIfBefore(index, parent)) return;
      index = parent;
    }
  }

  #siftDown(): void {
    for (let index = 0;;) {
      let child = 2 * index + 1;
      if (this.#isBefore(child + 1, child)) child++;
      if (!this.#swapIfBefore(child, index)) return;
      index = child;
    }
  }

  #swapIfBefore(index: number, other: number): boolean {
    const [one, two] = [this.#heap[index], this.#heap[other]];
    if (one === undefined || two === undefined || !this.#isBefore(index, other)) return false;
    this.#heap[index] = two;
    this.#heap[other] = one;
    return true;
  }

  #isBefore(index: number, other: number): boolean {
    const one = this.#heap[index];
    const two = this.#heap[other];
    if (one === undefined || two === undefined) return false;
    return one.dueMs < two.dueMs || (one.dueMs === two.dueMs && one.id < two.id);
  }
}
