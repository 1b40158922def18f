/**
 * Waiting in tests: for a condition, with a deadline, never for an amount of time.
 * @module
 */

const POLL_MS = 20;

/** How long a test waits for something that ought to take well under a second. */
export const DEADLINE_MS = 20_000;

/**
 * Waits until `condition` holds.
 *
 * @param what For the message: "the worker ends".
 * @param condition Returns something other than undefined or false once it holds.
 * @param deadlineMs How long to wait at most.
 * @returns What `condition` returned.
 * @throws {Error} It did not hold in time.
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const result = await condition();
    if (result !== undefined && result !== false) return result;
    if (performance.now() > deadline) {
      throw new Error(`Waited ${deadlineMs} ms in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/**
 * The result of `promise`, unless the deadline passes first.
 *
 * @throws {Error} The deadline has passed; whatever `promise` does later is ignored.
 */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  deadlineMs = DEADLINE_MS,
): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`Waited ${deadlineMs} ms in vain: ${what}`)),
      deadlineMs,
    );
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
