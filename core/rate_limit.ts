/**
 * A limit in bytes per second, as a budget that fills up with time. It may be overdrawn once, by a
 * block that is larger than what a slice of time allows.
 * @module
 */

/** Largest burst, in time; and when to ask again after a refusal. */
export const RATE_SLICE_MS = 50;

export class RateLimit {
  #budgetBytes = 0;
  #filledMs = 0;

  /** Time before `nowMs` fills nothing. */
  begin(nowMs: number): void {
    this.#filledMs = nowMs;
  }

  /** @param bytesPerSecond 0: no limit. */
  allows(bytesPerSecond: number, nowMs: number): boolean {
    if (bytesPerSecond === 0) return true;
    const refillBytes = ((nowMs - this.#filledMs) * bytesPerSecond) / 1000;
    this.#filledMs = nowMs;
    const mostBytes = (bytesPerSecond * RATE_SLICE_MS) / 1000;
    this.#budgetBytes = Math.min(this.#budgetBytes + refillBytes, mostBytes);
    return this.#budgetBytes >= 0;
  }

  take(byteCount: number): void {
    this.#budgetBytes -= byteCount;
  }
}
