/**
 * The local component: a regular file or a block device, opened, locked, measured, read and
 * written at offsets. The operations take a descriptor, so any thread of the process may call
 * them; they block, and return 0 or an errno (FreeBSD's number).
 *
 * Source: disk.md; pread(2), flock(2), fallocate(2), ioctl(2) and linux/fs.h.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { SystemError } from "../base/system_error.ts";
import { closeFd, type FileStatus, OPEN, openFile, statusOf } from "./descriptor.ts";
import { lastErrno } from "./errno.ts";
import { lockHolderPid, tryLock } from "./file_lock.ts";
import { hostOs, libc, linuxLibc } from "./libc.ts";

/** Sector size of a regular file. Source: disk.md. */
const FILE_SECTOR_BYTES = 512;

/** ioctl(2) requests of Linux block devices; the same on x86-64 and arm64. */
const BLKSSZGET = 0x1268; // int out
const BLKGETSIZE64 = 0x80081272; // u64 out
const BLKDISCARD = 0x1277; // u64 offset, u64 length in

/** fallocate(2) modes. */
const KEEP_SIZE = 1;
/** How often a lock that another process holds is tried. */
const LOCK_RETRY_MS = 20;
const PUNCH_HOLE = 2;
const ZERO_RANGE = 0x10;

/** How a component is opened. */
export interface OpenComponentOptions {
  /** `hastctl dump`: nothing is written, and another process may hold the lock. */
  readOnly?: boolean;
  /** How long to wait for another process that holds the lock, in ms; 0 unless given. */
  lockWaitMs?: number;
  /** Told what does not keep the component from being used. */
  log?: Log;
}

/** An open component. Whoever opened it closes it. */
export interface Component {
  readonly fd: number;
  readonly path: string;
  readonly kind: "file" | "block device";
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
}

/**
 * Opens a component, locks it against other processes and finds out its size.
 *
 * @throws {HastError} Exit code 66: it is missing, a directory, not permitted, no disk, or
 * another process has it locked.
 */
export function openComponent(path: string, options: OpenComponentOptions = {}): Component {
  const flags = OPEN[hostOs()];
  const readOnly = options.readOnly === true;
  // Without O_NONBLOCK, opening a named pipe may wait for ever.
  const fd = openFile(path, (readOnly ? flags.readOnly : flags.readWrite) | flags.nonblock);
  if (fd < 0) throw failure(-fd, "open", `Unable to open ${path}`);
  try {
    const status = statusOf(fd);
    if (status === undefined) throw failure(lastErrno(), "stat", `Unable to stat ${path}`);
    if (status.type === "directory") throw failure(ERRNO.EISDIR, "open", `Unable to open ${path}`);
    const geometry = status.type === "file" ? fileGeometry(status) : deviceGeometry(fd, path);
    options.log?.debug(1, `Obtained info about ${path}.`);
    if (!readOnly) lock(fd, path, options);
    return { fd, path, ...geometry };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Closes a component, which also gives up its lock. */
export function closeComponent(component: Component): void {
  closeFd(component.fd);
}

/**
 * Reads `byteCount` bytes at `offsetBytes` into memory at `address`.
 *
 * @returns 0 or an errno; EIO where the component ends before.
 */
export function readAt(
  fd: number,
  address: bigint,
  byteCount: number,
  offsetBytes: number,
): number {
  let done = 0;
  while (done < byteCount) {
    const position = BigInt(offsetBytes + done);
    const result = libc().pread(fd, address + BigInt(done), byteCount - done, position);
    if (result > 0) done += result;
    else if (result === 0) return ERRNO.EIO;
    else {
      const errno = lastErrno();
      if (errno !== ERRNO.EINTR) return errno;
    }
  }
  return 0;
}

/** Writes `byteCount` bytes of memory at `address` at `offsetBytes`. Returns 0 or an errno. */
export function writeAt(
  fd: number,
  address: bigint,
  byteCount: number,
  offsetBytes: number,
): number {
  let done = 0;
  while (done < byteCount) {
    const position = BigInt(offsetBytes + done);
    const result = libc().pwrite(fd, address + BigInt(done), byteCount - done, position);
    if (result > 0) done += result;
    else if (result === 0) return ERRNO.EIO;
    else {
      const errno = lastErrno();
      if (errno !== ERRNO.EINTR) return errno;
    }
  }
  return 0;
}

/**
 * Puts on stable storage what was written. Returns 0 or an errno. After an error nothing is
 * known of earlier writes, and asking again may say 0 without having cured it.
 */
export function flush(fd: number): number {
  for (;;) {
    if (libc().fdatasync(fd) === 0) return 0;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return errno;
  }
}

/**
 * Gives a range back to the storage. It reads as zeros afterwards, but for devices that can
 * discard only: there its content is undefined.
 *
 * @returns 0 or an errno, EOPNOTSUPP where the component cannot do that.
 */
export function punchHole(
  fd: number,
  kind: Component["kind"],
  offsetBytes: number,
  lengthBytes: number,
): number {
  // On a block device as well: it frees the blocks only if they then read as zeros.
  const errno = allocate(fd, PUNCH_HOLE | KEEP_SIZE, offsetBytes, lengthBytes);
  if (errno !== ERRNO.EOPNOTSUPP || kind === "file" || Deno.build.os !== "linux") return errno;
  return discard(fd, offsetBytes, lengthBytes);
}

/**
 * Makes a range read as zeros without moving data.
 *
 * @returns 0 or an errno, EOPNOTSUPP where the caller has to write zeros itself.
 */
export function zeroRange(fd: number, offsetBytes: number, lengthBytes: number): number {
  const errno = allocate(fd, ZERO_RANGE | KEEP_SIZE, offsetBytes, lengthBytes);
  if (errno !== ERRNO.EOPNOTSUPP) return errno;
  return allocate(fd, PUNCH_HOLE | KEEP_SIZE, offsetBytes, lengthBytes);
}

function allocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): number {
  if (Deno.build.os !== "linux") return ERRNO.EOPNOTSUPP;
  for (;;) {
    const result = linuxLibc().fallocate(fd, mode, BigInt(offsetBytes), BigInt(lengthBytes));
    if (result === 0) return 0;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return errno;
  }
}

function discard(fd: number, offsetBytes: number, lengthBytes: number): number {
  const range = new BigUint64Array([BigInt(offsetBytes), BigInt(lengthBytes)]);
  for (;;) {
    if (libc().ioctl(fd, BLKDISCARD, new Uint8Array(range.buffer)) === 0) return 0;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return errno;
  }
}

type Geometry = Pick<Component, "kind" | "sizeBytes" | "sectorSizeBytes">;

function fileGeometry(status: FileStatus): Geometry {
  return { kind: "file", sizeBytes: status.sizeBytes, sectorSizeBytes: FILE_SECTOR_BYTES };
}

/** What is no regular file must answer the ioctls of disks. */
function deviceGeometry(fd: number, path: string): Geometry {
  if (hostOs() !== "linux") {
    throw failure(ERRNO.EOPNOTSUPP, "ioctl", `Unable to use ${path}, which is no regular file`);
  }
  const size = new BigUint64Array(1);
  if (libc().ioctl(fd, BLKGETSIZE64, new Uint8Array(size.buffer)) !== 0) {
    throw failure(lastErrno(), "ioctl", `Unable obtain provider ${path} mediasize`);
  }
  const sector = new Int32Array(1);
  if (libc().ioctl(fd, BLKSSZGET, new Uint8Array(sector.buffer)) !== 0) {
    throw failure(lastErrno(), "ioctl", `Unable obtain provider ${path} sectorsize`);
  }
  const sizeBytes = Number(size[0]);
  if (!Number.isSafeInteger(sizeBytes)) {
    throw failure(ERRNO.EFBIG, "ioctl", `Unable to use ${path} of ${size[0]} bytes`);
  }
  return { kind: "block device", sizeBytes, sectorSizeBytes: sector[0] ?? FILE_SECTOR_BYTES };
}

function lock(fd: number, path: string, { log, lockWaitMs = 0 }: OpenComponentOptions): void {
  const errno = lockWithin(fd, lockWaitMs);
  if (errno === ERRNO.EOPNOTSUPP) {
    log?.warning(`Unable to lock ${path} (operation not supported), but continuing.`);
  } else if (errno === ERRNO.EAGAIN) {
    const pid = lockHolderPid(fd);
    const holder = pid === undefined ? "another process" : `process ${pid}`;
    throw new HastError(EX.noInput, `Unable to lock ${path}: ${holder} has it locked.`);
  } else if (errno !== 0) {
    throw failure(errno, "flock", `Unable to lock ${path}`);
  } else {
    log?.debug(1, `Locked ${path}.`);
  }
}

function failure(errno: number, syscall: string, message: string): SystemError {
  return new SystemError(errno, syscall, { message, exitCode: EX.noInput });
}

/** As `tryLock`, tried again until the time is over. */
function lockWithin(fd: number, waitMs: number): number {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  const deadlineMs = performance.now() + waitMs;
  for (;;) {
    const errno = tryLock(fd);
    if (errno !== ERRNO.EAGAIN || performance.now() >= deadlineMs) return errno;
    Atomics.wait(sleeper, 0, 0, LOCK_RETRY_MS);
  }
}
