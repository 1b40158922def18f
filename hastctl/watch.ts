/**
 * `hastctl watch`: how the resources stand, again every second. On a terminal the view is redrawn in
 * place; elsewhere a line is printed for each resource when it changes.
 *
 * Source: docs/hastctl.8.
 * @module
 */
import { EX, HastError } from "../base/errors.ts";
import { systemErrorName } from "../base/system_error.ts";
import type { Config } from "../conf/config.ts";
import { type Interrupt, interrupted } from "./interrupt.ts";
import type { Io } from "./io.ts";
import { askStatus, firstError } from "./status.ts";
import { nameWidth, watchLine } from "./watch_line.ts";

/** Pause between two looks. */
export const WATCH_INTERVAL_MS = 1_000;

/** What `hastctl watch` was asked for. */
export interface WatchRequest {
  /** None, or `all` as the first, means every resource. */
  names: readonly string[];
  /** Look once, then end. */
  once: boolean;
}

/** What one look has shown. */
interface Look {
  lines: string[];
  exitCode: number;
}

/**
 * Watches until `interrupt`, or until nobody reads any more. A daemon that goes away is waited for.
 *
 * @returns The exit code: 0, or with `once` the first error number of a resource.
 * @throws {HastError} The daemon cannot be asked the first time.
 */
export async function watchResources(
  config: Config,
  request: WatchRequest,
  io: Io,
  interrupt: Interrupt,
): Promise<number> {
  const view = io.terminal?.() === undefined ? new LineView(io) : new ScreenView(io);
  try {
    for (let first = true;; first = false) {
      const look = await interrupt.during(lookAt(config, request, io, first));
      if (look === interrupted) return EX.ok;
      view.show(look.lines);
      if (request.once) return look.exitCode;
      if (await interrupt.within(WATCH_INTERVAL_MS)) return EX.ok;
    }
  } catch (thrown) {
    if (systemErrorName(thrown) === "EPIPE") return EX.ok;
    throw thrown;
  }
}

async function lookAt(
  config: Config,
  { names }: WatchRequest,
  io: Io,
  first: boolean,
): Promise<Look> {
  try {
    const { resources } = await askStatus(config, names, true);
    const width = nameWidth(resources);
    const columns = io.terminal?.()?.columns;
    const lines = resources.map((reply) => watchLine(reply, width, columns));
    return { lines, exitCode: firstError(resources) };
  } catch (thrown) {
    if (first || !(thrown instanceof HastError)) throw thrown;
    return { lines: [thrown.message], exitCode: thrown.exitCode };
  }
}

/** Redraws the same lines of a terminal. */
class ScreenView {
  readonly #io: Io;
  #shownCount = 0;

  constructor(io: Io) {
    this.#io = io;
  }

  show(lines: readonly string[]): void {
    const { columns = 80, rows = 24 } = this.#io.terminal?.() ?? {};
    const fitting = fitted(lines, rows - 1).map((line) => line.slice(0, columns));
    const up = this.#shownCount === 0 ? "" : `\x1b[${this.#shownCount}A`;
    const text = fitting.map((line) => `${line}\x1b[K\n`).join("");
    this.#io.stdout(`${up}\r${text}\x1b[J`);
    this.#shownCount = fitting.length;
  }
}

/** What does not fit would scroll away and could not be redrawn. */
function fitted(lines: readonly string[], countMax: number): readonly string[] {
  if (lines.length <= countMax) return lines;
  const shownCount = Math.max(0, countMax - 1);
  return [...lines.slice(0, shownCount), `... and ${lines.length - shownCount} more`];
}

/** Prints what has changed. */
class LineView {
  readonly #io: Io;
  #shown = new Set<string>();

  constructor(io: Io) {
    this.#io = io;
  }

  show(lines: readonly string[]): void {
    const changed = lines.filter((line) => !this.#shown.has(line));
    if (changed.length > 0) this.#io.stdout(changed.map((line) => `${line}\n`).join(""));
    this.#shown = new Set(lines);
  }
}
