/**
 * Where the daemon's messages go: standard output and error in the foreground, syslog(3) in the
 * background. The lines are those of hastd(8).
 *
 * | mode       | error, warning                  | info, debug                      |
 * |------------|---------------------------------|----------------------------------|
 * | foreground | stderr: `[ERROR] [data] (primary) text` | stdout: `[DEBUG][2] text` |
 * | background | syslog: `[data] (primary) text` | the same                         |
 *
 * Source: hastd(8), control.md.
 * @module
 */
import {
  configureSync,
  getLogger,
  type LogRecord as SinkRecord,
  type Sink,
} from "@logtape/logtape";
import { type Log, type LogRecord, logTo } from "../base/log.ts";
import { openSyslog, syslog } from "../ffi/syslog.ts";

/** Longest line; workers and peers have a say in what messages contain. */
export const LOG_LINE_CHARS_MAX = 4096;

/** How the daemon logs. */
export interface LogSettings {
  mode: "foreground" | "background";
  /** How often `-d` was given: debug messages up to this level are shown. */
  debugLevel: number;
}

/** The daemon's own log, and the way in for what workers send. Neither throws. */
export interface DaemonLog {
  readonly log: Log;
  write(record: LogRecord): void;
}

const CATEGORY = "hastd";

/**
 * Sets up logging for this process. Called again (on the way to the background), the new
 * settings hold for all that was created before as well.
 */
export function createLog(settings: LogSettings): DaemonLog {
  configureSync({
    reset: true,
    sinks: { out: settings.mode === "foreground" ? standardSink : createSyslogSink() },
    filters: { shown: (record) => recordIn(record).debugLevel <= settings.debugLevel },
    loggers: [
      {
        category: CATEGORY,
        sinks: ["out"],
        lowestLevel: "debug",
        filters: ["shown"],
      },
      // The logging library's messages about itself.
      { category: ["logtape", "meta"], sinks: ["out"], lowestLevel: "error" },
    ],
  });
  const write = (record: LogRecord) => {
    // As a property: braces in a message are no placeholders.
    getLogger(CATEGORY)[METHOD[record.level]]("{record}", { record });
  };
  return { log: logTo(write), write };
}

const METHOD = { error: "error", warning: "warn", info: "info", debug: "debug" } as const;

/** The line of a record in the foreground, without its end. */
export function foregroundLine(record: LogRecord): string {
  const level = record.level === "debug"
    ? `[DEBUG][${record.debugLevel}]`
    : `[${record.level.toUpperCase()}]`;
  return `${level} ${plainText(record)}`;
}

/** Prefix and message on one line of limited length, without control characters. */
export function plainText({ prefix, message }: LogRecord): string {
  const text = (prefix + message).slice(0, LOG_LINE_CHARS_MAX);
  // deno-lint-ignore no-control-regex -- What a peer sends must not look like a line of ours.
  return text.replaceAll(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

const standardSink: Sink = (sinkRecord) => {
  const record = recordIn(sinkRecord);
  const toError = record.level === "error" || record.level === "warning";
  writeLine(toError ? Deno.stderr : Deno.stdout, foregroundLine(record));
};

function createSyslogSink(): Sink {
  openSyslog("hastd");
  return (sinkRecord) => {
    const record = recordIn(sinkRecord);
    syslog(record.level, plainText(record));
  };
}

/** What {@link createLog} put in; anything else is a message of the logging library. */
function recordIn(sinkRecord: SinkRecord): LogRecord {
  const { record } = sinkRecord.properties;
  if (isRecord(record)) return record;
  const message = sinkRecord.message.join("");
  return { level: "error", debugLevel: 0, prefix: "", message };
}

function isRecord(value: unknown): value is LogRecord {
  return typeof value === "object" && value !== null && "debugLevel" in value;
}

interface SyncWriter {
  writeSync(bytes: Uint8Array): number;
}

function writeLine(writer: SyncWriter, line: string): void {
  const bytes = new TextEncoder().encode(`${line}\n`);
  try {
    for (let done = 0; done < bytes.length;) done += writer.writeSync(bytes.subarray(done));
  } catch {
    // Nobody reads the output any more: there is no other place to say so, and work goes on.
  }
}
