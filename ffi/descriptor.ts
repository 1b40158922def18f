/**
 * Descriptors of any kind: flags, identity, the list of open ones.
 *
 * Source: fcntl(2), dup2(2), statx(2) of Linux, fstat(2) of FreeBSD.
 * @module
 */
import { SystemError } from "../base/system_error.ts";
import { lastErrno } from "./errno.ts";
import { cString, freebsdLibc, hostOs, libc, linuxLibc } from "./libc.ts";

const F_GETFD = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_DUPFD_CLOEXEC = { linux: 1030, freebsd: 17 };

/** open(2) flags; those of Linux are the same on x86-64 and arm64. */
export const OPEN = {
  linux: { readOnly: 0, readWrite: 2, create: 0o100, nonblock: 0o4000, closeOnExec: 0o2000000 },
  freebsd: { readOnly: 0, readWrite: 2, create: 0x200, nonblock: 4, closeOnExec: 0x100000 },
};

const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC = 0x7ff;
const STAT_BYTES = 256;

/**
 * Where fields are. Linux, struct statx (the same on every machine): mode u16, inode u64, size
 * u64, device as two u32. FreeBSD 12 and later, struct stat: device u64, inode u64, mode u16,
 * size i64.
 */
const STAT = {
  linux: { mode: 28, inode: 32, size: 40, device: 136 },
  freebsd: { mode: 24, inode: 8, size: 112, device: 0 },
};

const FILE_TYPES = {
  0o010000: "fifo",
  0o020000: "character device",
  0o040000: "directory",
  0o060000: "block device",
  0o100000: "file",
  0o120000: "link",
  0o140000: "socket",
} as const;

/** What a descriptor refers to. */
export interface FileStatus {
  type: typeof FILE_TYPES[keyof typeof FILE_TYPES] | "other";
  /** Two descriptors with the same pair refer to the same file or socket. */
  device: bigint;
  inode: bigint;
  /** Of a regular file. */
  sizeBytes: number;
}

/** Looks at what `fd` refers to; undefined if it is not open. */
export function statusOf(fd: number): FileStatus | undefined {
  const bytes = new Uint8Array(STAT_BYTES);
  const os = hostOs();
  const result = os === "linux"
    ? linuxLibc().statx(fd, cString(""), AT_EMPTY_PATH, STATX_BASIC, bytes)
    : freebsdLibc().fstat(fd, bytes);
  if (result !== 0) return undefined;
  const view = new DataView(bytes.buffer);
  const offsets = STAT[os];
  const types: Record<number, FileStatus["type"]> = FILE_TYPES;
  return {
    type: types[view.getUint16(offsets.mode, true) & 0o170000] ?? "other",
    device: view.getBigUint64(offsets.device, true),
    inode: view.getBigUint64(offsets.inode, true),
    sizeBytes: Number(view.getBigUint64(offsets.size, true)),
  };
}

/**
 * All descriptors that are open now, in rising order. A new descriptor gets the lowest free
 * number, so a long gap means the end.
 */
export function openDescriptors(): number[] {
  const GAP_MAX = 1024;
  const fds: number[] = [];
  for (let fd = 0; fd <= (fds.at(-1) ?? 0) + GAP_MAX; fd++) {
    if (libc().fcntl(fd, F_GETFD, 0) !== -1) fds.push(fd);
  }
  return fds;
}

/**
 * Says whether programs that are started from now on inherit `fd`, under the same number.
 *
 * @throws {SystemError} `fd` is not open.
 */
export function setCloseOnExec(fd: number, closeOnExec: boolean): void {
  check("fcntl", libc().fcntl(fd, F_SETFD, closeOnExec ? FD_CLOEXEC : 0));
}

/**
 * A new number for what `fd` refers to, not inherited by programs.
 *
 * @throws {SystemError} `fd` is not open or there are too many descriptors.
 */
export function duplicate(fd: number): number {
  return check("fcntl", libc().fcntl(fd, F_DUPFD_CLOEXEC[hostOs()], 3));
}

/**
 * Opens a file; close-on-exec is always set.
 *
 * @param mode Permissions of a file that is created, before the umask.
 * @returns The descriptor, or a negative errno.
 */
export function openFile(path: string, flags: number, mode = 0): number {
  const fd = libc().open(cString(path), flags | OPEN[hostOs()].closeOnExec, mode);
  return fd === -1 ? -lastErrno() : fd;
}

/** Closes a descriptor that this program opened; an error of close(2) is of no use to anyone. */
export function closeFd(fd: number): void {
  libc().close(fd);
}

/**
 * Makes each of `fds` refer to /dev/null; the numbers stay in use.
 *
 * @throws {SystemError} /dev/null cannot be opened.
 */
export function pointAtNull(fds: Iterable<number>): void {
  const nullFd = openFile("/dev/null", OPEN[hostOs()].readWrite);
  if (nullFd < 0) throw new SystemError(-nullFd, "open", { message: "Unable to open /dev/null" });
  for (const fd of fds) libc().dup2(nullFd, fd);
  closeFd(nullFd);
}

/** The result of a call, unless it failed. */
function check(syscall: string, result: number): number {
  if (result === -1) throw new SystemError(lastErrno(), syscall);
  return result;
}
