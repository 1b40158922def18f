/**
 * The one interface through which every part reports; sinks are in `hastd/log.ts`.
 *
 * Levels and the wording of lines follow hastd(8): a message is a whole sentence that ends in a
 * period; `prefix` of a worker is `[NAME] (ROLE) `.
 * @module
 */

/** Where messages go. No method throws, none blocks for long; none is for the data path. */
export interface Log {
  error(message: string): void;
  warning(message: string): void;
  info(message: string): void;
  /** Shown only with at least `level` times `-d`. */
  debug(level: number, message: string): void;
}

/** One message on its way to a sink, as a worker sends it to the main process. */
export interface LogRecord {
  level: "error" | "warning" | "info" | "debug";
  /** 1 and up for `debug`, 0 otherwise. */
  debugLevel: number;
  /** `[NAME] (ROLE) ` of a worker or a resource, else empty. */
  prefix: string;
  message: string;
}

/** A log that puts every message, with a prefix, into `write`. */
export function logTo(write: (record: LogRecord) => void, prefix = ""): Log {
  return {
    error: (message) => write({ level: "error", debugLevel: 0, prefix, message }),
    warning: (message) => write({ level: "warning", debugLevel: 0, prefix, message }),
    info: (message) => write({ level: "info", debugLevel: 0, prefix, message }),
    debug: (debugLevel, message) => write({ level: "debug", debugLevel, prefix, message }),
  };
}
