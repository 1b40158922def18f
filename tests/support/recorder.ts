/**
 * A log that keeps what was written, for tests that compare lines.
 * @module
 */
import { type Log, type LogRecord, logTo } from "../../base/log.ts";

/** Keeps every record, as the line that `hastd -F` would write. */
export class Recorder {
  readonly lines: string[] = [];
  readonly log: Log = logTo((record) => this.write(record));

  write(record: LogRecord): void {
    const level = record.level.toUpperCase();
    const tag = record.level === "debug" ? `[${level}][${record.debugLevel}]` : `[${level}]`;
    this.lines.push(`${tag} ${record.prefix}${record.message}`);
  }

  /** The lines so far, without process ids and ports, which no test can know. */
  masked(): string[] {
    return this.lines.map((line) =>
      line.replace(/pid=\d+/g, "pid=N").replace(/(tcp:\/\/\S*:)\d+/g, "$1N")
    );
  }
}
