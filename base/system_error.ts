/**
 * A system call failed, and the failure is the administrator's business: as an error of its own,
 * and as the words for what a call into Deno threw, FreeBSD's on every host.
 *
 * Source: errno(2), strerror(3), sysexits(3).
 * @module
 */
import { ERRNO, strerror } from "./errno.ts";
import { EX, HastError, messageOf } from "./errors.ts";

/** What to add to the number of a failed call. */
export interface SystemErrorOptions {
  /** What could not be done, without a period: `Unable to open /dev/da0`. */
  message?: string;
  /** What the program exits with, {@link EX}.osErr unless given. */
  exitCode?: number;
}

/**
 * A failed system call. The message is `WHAT: STRERROR.`, a whole sentence as log lines are.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const error = new SystemError(2, "open", { message: "Unable to open /x" });
 * assertEquals(error.message, "Unable to open /x: No such file or directory.");
 * ```
 */
export class SystemError extends HastError {
  override name = "SystemError";
  /** FreeBSD's number, see `base/errno.ts`. */
  readonly errno: number;
  /** Name of the call that failed: `open`. */
  readonly syscall: string;
  constructor(errno: number, syscall: string, options: SystemErrorOptions = {}) {
    const what = options.message ?? `System call ${syscall} failed`;
    super(options.exitCode ?? EX.osErr, `${what}: ${strerror(errno)}.`);
    this.errno = errno;
    this.syscall = syscall;
  }
}

const NUMBER: Readonly<Record<string, number>> = ERRNO;

/** The classes of Deno, for versions and cases where an error carries no `code`. */
const NAME_OF_CLASS: Readonly<Record<string, string>> = {
  NotFound: "ENOENT",
  PermissionDenied: "EACCES",
  AlreadyExists: "EEXIST",
  IsADirectory: "EISDIR",
  NotADirectory: "ENOTDIR",
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  ConnectionRefused: "ECONNREFUSED",
  ConnectionReset: "ECONNRESET",
  ConnectionAborted: "ECONNABORTED",
  NotConnected: "ENOTCONN",
  BrokenPipe: "EPIPE",
  TimedOut: "ETIMEDOUT",
};

/** The symbolic name of a system error (`ENOENT`), or undefined where there is none. */
export function systemErrorName(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if ("code" in thrown && typeof thrown.code === "string") return thrown.code;
  return NAME_OF_CLASS[thrown.name];
}

/**
 * strerror(3) words for what a `Deno` call threw; its own message where it has no number. Without
 * a period: the line that it goes into has one.
 */
export function systemErrorText(thrown: unknown): string {
  const number = NUMBER[systemErrorName(thrown) ?? ""];
  return number === undefined ? messageOf(thrown).replace(/\.$/, "") : strerror(number);
}
