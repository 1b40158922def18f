/**
 * Error numbers. Inside this program, and on the wire between nodes, an errno is FreeBSD's
 * number; `ffi/errno.ts` translates the host's numbers at the edge, `protocol/nbd.ts` NBD's.
 *
 * Source: FreeBSD errno(2); wire.md, replies.
 * @module
 */

/** FreeBSD's numbers. 0 means success. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  EAGAIN: 35,
  EINPROGRESS: 36,
  ENOTSOCK: 38,
  EOPNOTSUPP: 45,
  EADDRINUSE: 48,
  EADDRNOTAVAIL: 49,
  ENETUNREACH: 51,
  ECONNABORTED: 53,
  ECONNRESET: 54,
  ENOBUFS: 55,
  ENOTCONN: 57,
  ESHUTDOWN: 58,
  ETIMEDOUT: 60,
  ECONNREFUSED: 61,
  EHOSTUNREACH: 65,
  EDQUOT: 69,
  EOVERFLOW: 84,
  ECANCELED: 85,
} as const;

const TEXT: Record<number, string> = {
  1: "Operation not permitted",
  2: "No such file or directory",
  4: "Interrupted system call",
  5: "Input/output error",
  6: "Device not configured",
  9: "Bad file descriptor",
  12: "Cannot allocate memory",
  13: "Permission denied",
  14: "Bad address",
  16: "Device busy",
  17: "File exists",
  19: "Operation not supported by device",
  20: "Not a directory",
  21: "Is a directory",
  22: "Invalid argument",
  24: "Too many open files",
  25: "Inappropriate ioctl for device",
  27: "File too large",
  28: "No space left on device",
  29: "Illegal seek",
  30: "Read-only file system",
  32: "Broken pipe",
  35: "Resource temporarily unavailable",
  36: "Operation now in progress",
  38: "Socket operation on non-socket",
  45: "Operation not supported",
  48: "Address already in use",
  49: "Can't assign requested address",
  51: "Network is unreachable",
  53: "Software caused connection abort",
  54: "Connection reset by peer",
  55: "No buffer space available",
  57: "Socket is not connected",
  58: "Can't send after socket shutdown",
  60: "Operation timed out",
  61: "Connection refused",
  65: "No route to host",
  69: "Disc quota exceeded",
  84: "Value too large to be stored in data type",
  85: "Operation canceled",
};

/** What strerror(3) of FreeBSD says for `errno` (a FreeBSD number). */
export function strerror(errno: number): string {
  return TEXT[errno] ?? `Unknown error: ${errno}`;
}
