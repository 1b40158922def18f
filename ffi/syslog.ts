/**
 * The system's log.
 *
 * Source: syslog(3); its numbers are the same on both systems.
 * @module
 */
import { cString, libc } from "./libc.ts";
import { mapPages, PAGE_BYTES, type Pages } from "./memory.ts";

const LOG_PID = 1;
const LOG_NDELAY = 8;
const LOG_DAEMON = 3 << 3;

/** Priorities that hastd uses. */
export const SYSLOG_PRIORITY = { error: 3, warning: 4, info: 6, debug: 7 } as const;

/** syslog(3) keeps the address of the name: this memory stays for good. */
let identPages: Pages | undefined;

/**
 * Opens the log for this process: facility daemon, with the process number.
 *
 * @param ident Name in front of every line.
 */
export function openSyslog(ident: string): void {
  identPages ??= mapPages(PAGE_BYTES);
  const bytes = cString(ident.slice(0, 255));
  identPages.bytes.fill(0);
  identPages.bytes.set(bytes);
  libc().openlog(identPages.address, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

const FORMAT = cString("%s");

/** Writes one line. Where nothing listens it is lost: syslog(3) reports no errors. */
export function syslog(priority: keyof typeof SYSLOG_PRIORITY, message: string): void {
  libc().syslog(SYSLOG_PRIORITY[priority], FORMAT, cString(message));
}

/** Closes what {@link openSyslog} opened. */
export function closeSyslog(): void {
  libc().closelog();
}
