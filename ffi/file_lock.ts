/**
 * Locks on whole files between processes, and who holds one.
 *
 * Source: flock(2); proc(5), /proc/locks.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { type FileStatus, statusOf } from "./descriptor.ts";
import { lastErrno } from "./errno.ts";
import { libc } from "./libc.ts";

const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Locks an open file exclusively until its last descriptor is closed; programs that inherit one
 * hold the lock too.
 *
 * @returns 0, EAGAIN where another process (or another open of this one) holds the lock,
 * EOPNOTSUPP where the file system knows no locks, or another errno.
 */
export function tryLock(fd: number): number {
  for (;;) {
    if (libc().flock(fd, LOCK_EX | LOCK_NB) === 0) return 0;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return errno;
  }
}

/** The process that holds the lock on the file behind `fd`, where the system tells. */
export function lockHolderPid(fd: number): number | undefined {
  const status = statusOf(fd);
  if (Deno.build.os !== "linux" || status === undefined) return undefined;
  // 1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF
  const line = /^\d+: FLOCK +ADVISORY +WRITE +(\d+) ([0-9a-f]+:[0-9a-f]+:\d+) /;
  const place = placeOf(status);
  for (const text of Deno.readTextFileSync("/proc/locks").split("\n")) {
    const [, pid, where] = line.exec(text) ?? [];
    if (where === place) return Number(pid);
  }
  return undefined;
}

/** The device and inode as /proc/locks writes them. */
function placeOf({ device, inode }: FileStatus): string {
  // statx tells the device as major u32, minor u32.
  const major = (device & 0xffff_ffffn).toString(16).padStart(2, "0");
  const minor = (device >> 32n).toString(16).padStart(2, "0");
  return `${major}:${minor}:${inode}`;
}
