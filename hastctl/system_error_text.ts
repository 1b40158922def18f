/**
 * The text of what a call into Deno threw, in FreeBSD's words whatever the host.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { messageOf } from "../base/errors.ts";

const ERRNO_BY_NAME: Readonly<Record<string, number>> = ERRNO;

/** strerror(3) of a system error; the message of anything else. */
export function systemErrorText(thrown: unknown): string {
  const name = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  const errno = typeof name === "string" ? ERRNO_BY_NAME[name] : undefined;
  return errno === undefined ? messageOf(thrown) : strerror(errno);
}
