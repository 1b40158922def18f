/**
 * The file that holds the daemon's process number and, by its lock, keeps a second daemon from
 * starting.
 *
 * Source: control.md, hastd(8); flock(2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { SystemError } from "../base/system_error.ts";
import { closeFd, OPEN, openFile, statusOf } from "../ffi/descriptor.ts";
import { tryLock } from "../ffi/file_lock.ts";
import { lastErrno } from "../ffi/errno.ts";
import { hostOs, libc } from "../ffi/libc.ts";

/** The holder writes its number right after it has the lock: how often we look, how long apart. */
const READ_ATTEMPTS_MAX = 20;
const READ_PAUSE_MS = 5;

/** Someone replaces the file between open and lock: how often we start over. */
const OPEN_ATTEMPTS_MAX = 10;

/** A pidfile that this process holds. */
export class Pidfile {
  readonly path: string;
  readonly #fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** Writes `pid`, once; a failure is only a warning. */
  write(pid: number, log: Log): void {
    const bytes = new TextEncoder().encode(`${pid}`);
    if (libc().write(this.#fd, bytes, bytes.length) !== bytes.length) {
      const message = `Unable to write PID to a file ${this.path}`;
      log.warning(new SystemError(lastErrno(), "write", { message }).message);
    } else {
      log.debug(1, `PID stored in ${this.path}.`);
    }
  }

  /** Removes the file, then gives up the lock. */
  close(): void {
    try {
      Deno.removeSync(this.path);
    } catch {
      // Somebody removed it already, or made the folder read-only: the lock is what counts.
    }
    closeFd(this.#fd);
  }
}

/**
 * Opens, creates (mode 0600), locks and empties a pidfile.
 *
 * @returns undefined where that failed; then there was a warning, and the daemon goes on.
 * @throws {HastError} Exit code 75: another daemon holds it.
 */
export function openPidfile(path: string, log: Log): Pidfile | undefined {
  const fd = openLocked(path);
  if (fd >= 0) return new Pidfile(path, fd);
  const message = `Unable to open or create pidfile ${path}`;
  log.warning(new SystemError(-fd, "open", { message }).message);
  return undefined;
}

/** The descriptor of the locked file, or a negative errno. */
function openLocked(path: string): number {
  const flags = OPEN[hostOs()];
  for (let attempt = 0; attempt < OPEN_ATTEMPTS_MAX; attempt++) {
    const fd = openFile(path, flags.readWrite | flags.create | flags.nonblock, 0o600);
    if (fd < 0) return fd;
    const errno = tryLock(fd);
    // A number left by a daemon that crashed is nobody's any more.
    if (errno === 0 && isFileAt(path, fd) && libc().ftruncate(fd, 0n) === 0) return fd;
    closeFd(fd);
    if (errno === ERRNO.EAGAIN) throw alreadyRunning(path);
    if (errno !== 0) return -errno;
    // The daemon that held it has just removed it: our lock is on a file without a name.
  }
  return -ERRNO.EBUSY;
}

function isFileAt(path: string, fd: number): boolean {
  const other = openFile(path, OPEN[hostOs()].readOnly | OPEN[hostOs()].nonblock);
  if (other < 0) return false;
  const [a, b] = [statusOf(fd), statusOf(other)];
  closeFd(other);
  return a !== undefined && a.inode === b?.inode && a.device === b.device;
}

function alreadyRunning(path: string): HastError {
  const pid = readPid(path);
  const text = `Another hastd is already running, pidfile: ${path}, pid: ${pid}.`;
  return new HastError(EX.tempFail, text);
}

/** The number in the file; -1, as the original says, where there is none even after 100 ms. */
function readPid(path: string): number {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 0; attempt < READ_ATTEMPTS_MAX; attempt++) {
    const match = /^\d{1,10}/.exec(readText(path));
    if (match !== null) return Number(match[0]);
    Atomics.wait(pause, 0, 0, READ_PAUSE_MS);
  }
  return -1;
}

function readText(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return ""; // Removed or not readable: the same as empty.
  }
}

/** A path that still means the same when the background mode has changed the directory. */
export function absolutePath(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
