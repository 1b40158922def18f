/**
 * The signals that mean something to the main process, one after the other.
 *
 * Source: control.md, Signals.
 * @module
 */

export type SignalName = "SIGHUP" | "SIGINT" | "SIGTERM";

const NAMES: readonly SignalName[] = ["SIGHUP", "SIGINT", "SIGTERM"];

/** Catches signals from its construction on; those that nobody waits for are kept. */
export class Signals {
  /** At most one of each: what a signal asks for is not asked for twice. */
  readonly #pending = new Set<SignalName>();
  readonly #handlers = new Map<SignalName, () => void>();
  #wake: (() => void) | undefined;

  constructor() {
    for (const name of NAMES) {
      const handler = () => this.raise(name);
      this.#handlers.set(name, handler);
      Deno.addSignalListener(name, handler);
    }
  }

  /** The next signal; one that ends the program comes before a reload. */
  async next(): Promise<SignalName> {
    for (;;) {
      for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
        if (this.#pending.delete(name)) return name;
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  /** As if the signal had come: for who asks for the same in another way. */
  raise(name: SignalName): void {
    this.#pending.add(name);
    this.#wake?.();
  }

  /** Gives the signals back their default action. */
  close(): void {
    for (const [name, handler] of this.#handlers) Deno.removeSignalListener(name, handler);
  }
}
