/**
 * SIGINT and SIGTERM for a command that runs until it is told to end.
 * @module
 */

const NAMES = ["SIGINT", "SIGTERM"] as const;

/** What {@link Interrupt.during} answers when a signal came first. */
export const interrupted: unique symbol = Symbol("interrupted");

/** Catches the signals from its construction to {@link close}. */
export class Interrupt {
  readonly #handler = () => this.#resolve();
  readonly #came: Promise<void>;
  #resolve: () => void = () => {};

  constructor() {
    this.#came = new Promise((resolve) => this.#resolve = resolve);
    for (const name of NAMES) Deno.addSignalListener(name, this.#handler);
  }

  /** Waits at most `timeoutMs` for a signal; true once one has come. */
  async within(timeoutMs: number): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    try {
      return await this.during(late) === interrupted;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Waits for `work`, or for a signal; `work` is then left alone. */
  async during<T>(work: Promise<T>): Promise<T | typeof interrupted> {
    const came = this.#came.then((): typeof interrupted => interrupted);
    return await Promise.race([came, work]);
  }

  /** Gives the signals back their default action. */
  close(): void {
    for (const name of NAMES) Deno.removeSignalListener(name, this.#handler);
  }
}
