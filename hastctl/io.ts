/**
 * Where hastctl writes: an injected pair of streams, and a log on top of them.
 *
 * Levels go where the C original sends them: debug and info to standard output, warnings and
 * errors to standard error. Source: control.md, logs.
 * @module
 */
import { type Log, type LogRecord, logTo } from "../base/log.ts";

/** The two streams of a run. Text is written whole and at once. */
export interface Io {
  stdout(text: string): void;
  stderr(text: string): void;
  /** Size of the terminal that standard output is; undefined or missing where it is none. */
  terminal?(): TerminalSize | undefined;
}

/** A terminal's size in characters. */
export interface TerminalSize {
  columns: number;
  rows: number;
}

/** The streams of this process. */
export const processIo: Io = {
  stdout: (text) => writeWhole(Deno.stdout, text),
  stderr: (text) => writeWhole(Deno.stderr, text),
  terminal: () => Deno.stdout.isTerminal() ? Deno.consoleSize() : undefined,
};

interface SyncWriter {
  writeSync(bytes: Uint8Array): number;
}

function writeWhole(stream: SyncWriter, text: string): void {
  let left = new TextEncoder().encode(text);
  while (left.length > 0) left = left.subarray(stream.writeSync(left));
}

/** A log on `io` that shows debug messages up to `debugLevel`. */
export function logOn(io: Io, debugLevel: number, prefix = ""): Log {
  return logTo((record) => {
    if (record.debugLevel > debugLevel) return;
    const line = `${tagOf(record)} ${record.prefix}${record.message}\n`;
    if (record.level === "error" || record.level === "warning") io.stderr(line);
    else io.stdout(line);
  }, prefix);
}

function tagOf(record: LogRecord): string {
  const tag = `[${record.level.toUpperCase()}]`;
  return record.level === "debug" ? `${tag}[${record.debugLevel}]` : tag;
}
