/**
 * Reading and writing pipes that never block.
 *
 * Source: read(2), write(2), pipe(7).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { lastErrno } from "./errno.ts";
import { libc } from "./libc.ts";

/** Returns bytes read, 0 at the end, -EAGAIN where there is nothing now, or another -errno. */
export function readPipe(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  for (;;) {
    const result = libc().read(fd, bytes, bytes.length);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/** Returns bytes written, -EAGAIN where there is no room now, or another -errno. */
export function writePipe(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  for (;;) {
    const result = libc().write(fd, bytes, bytes.length);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}
