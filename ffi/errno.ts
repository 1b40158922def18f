/**
 * The host's error numbers and FreeBSD's: the rest of the program knows only the latter.
 *
 * Source: errno(2) of FreeBSD; errno(3) and asm-generic/errno.h of Linux, which x86-64 and
 * arm64 share.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { hostErrno } from "./libc.ts";

type ErrnoName = keyof typeof ERRNO;

/** Linux's numbers where they differ from FreeBSD's; up to 34 all others are the same. */
const LINUX_NUMBER: Partial<Record<ErrnoName, number>> = {
  EAGAIN: 11,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  ENOTSOCK: 88,
  EDESTADDRREQ: 89,
  EMSGSIZE: 90,
  EPROTOTYPE: 91,
  ENOPROTOOPT: 92,
  EPROTONOSUPPORT: 93,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENETRESET: 102,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  EISCONN: 106,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  EINPROGRESS: 115,
  ESTALE: 116,
  EDQUOT: 122,
  ECANCELED: 125,
};

const NAMES = Object.keys(ERRNO) as ErrnoName[];

/** Index: FreeBSD's number; value: Linux's. */
const TO_LINUX = new Map(NAMES.map((name) => [ERRNO[name], LINUX_NUMBER[name] ?? ERRNO[name]]));
const FROM_LINUX = new Map([...TO_LINUX].map(([freebsd, linux]) => [linux, freebsd]));

/** FreeBSD's number for one of Linux; EIO for one that FreeBSD does not know. */
export function errnoFromLinux(linuxErrno: number): number {
  return linuxErrno === 0 ? 0 : FROM_LINUX.get(linuxErrno) ?? ERRNO.EIO;
}

/** Linux's number for one of FreeBSD; Linux's EIO for one that Linux does not know. */
export function errnoToLinux(errno: number): number {
  return errno === 0 ? 0 : (TO_LINUX as Map<number, number>).get(errno) ?? ERRNO.EIO;
}

/**
 * Why the last system call of this thread failed, as FreeBSD's number. True only right after a
 * synchronous call: before any `await` and any other call into Deno.
 */
export function lastErrno(): number {
  const errno = hostErrno();
  return Deno.build.os === "linux" ? errnoFromLinux(errno) : errno;
}
