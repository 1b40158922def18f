/**
 * A system call failed, and the failure is the administrator's business.
 *
 * Source: errno(2), sysexits(3).
 * @module
 */
import { strerror } from "./errno.ts";
import { EX, HastError } from "./errors.ts";

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
