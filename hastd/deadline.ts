/**
 * Waiting with an end: every wait of the control plane on somebody else is one of these.
 * @module
 */

/** What {@link within} answers when the time is up. */
export const timedOut: unique symbol = Symbol("timed out");

/**
 * Waits for `promise`, but no longer than `timeoutMs`. The promise goes on; a later rejection is
 * swallowed, because nobody is left to hear it.
 */
export async function within<T>(
  promise: Promise<T>,
  timeoutMs: number,
): Promise<T | typeof timedOut> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const alarm = new Promise<typeof timedOut>((resolve) => {
    timer = setTimeout(() => resolve(timedOut), timeoutMs);
  });
  try {
    return await Promise.race([promise, alarm]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => {});
  }
}

/** Runs one operation after the other, in the order in which they were handed in. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#last.then(operation);
    this.#last = result.catch(() => {});
    return result;
  }
}
