/**
 * The text of a system error as hastd's messages end with it: FreeBSD's strerror(3) words on
 * every host.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { messageOf } from "../base/errors.ts";

const NUMBER: Readonly<Record<string, number>> = ERRNO;

/** What has no number in `base/errno.ts`, because no request ever carries it. */
const TEXT: Readonly<Record<string, string>> = {
  ENAMETOOLONG: "File name too long",
  ELOOP: "Too many levels of symbolic links",
  ENOEXEC: "Exec format error",
  ENOTEMPTY: "Directory not empty",
  ENFILE: "Too many open files in system",
  ETXTBSY: "Text file busy",
  EAFNOSUPPORT: "Address family not supported by protocol family",
};

/** The classes of Deno, for versions and cases where an error carries no `code`. */
const NAME_OF_CLASS: Readonly<Record<string, string>> = {
  NotFound: "ENOENT",
  PermissionDenied: "EACCES",
  AlreadyExists: "EEXIST",
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
  const name = systemErrorName(thrown);
  if (name === undefined) return messageOf(thrown).replace(/\.$/, "");
  const number = NUMBER[name];
  return number === undefined ? TEXT[name] ?? messageOf(thrown) : strerror(number);
}
