/**
 * This process: its title, its number, signals, session and standard descriptors.
 *
 * Source: setproctitle(3) of FreeBSD; proc(5) (stat, fields 48 and 49) and prctl(2)
 * (PR_SET_NAME) of Linux; setsid(2), umask(2), kill(2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { openDescriptors, pointAtNull, statusOf } from "./descriptor.ts";
import { lastErrno } from "./errno.ts";
import { cString, freebsdLibc, hostOs, libc, linuxLibc } from "./libc.ts";
import { bytesAt } from "./memory.ts";

const PR_SET_NAME = 15;
/** Fields of /proc/self/stat behind the name in brackets, which is field 2. */
const ARG_START = 48 - 3;
const ARG_END = 49 - 3;

const SIGNALS = {
  linux: { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGUSR1: 10, SIGTERM: 15 },
  freebsd: { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGUSR1: 30, SIGTERM: 15 },
};

/** Signals that {@link kill} knows. */
export type SignalName = keyof typeof SIGNALS["linux"];

/** The number of this process. */
export function getpid(): number {
  return libc().getpid();
}

/** Sends a signal. Returns 0 or an errno: ESRCH where there is no such process. */
export function kill(pid: number, signal: SignalName): number {
  return libc().kill(pid, SIGNALS[hostOs()][signal]) === 0 ? 0 : lastErrno();
}

/** True if a process of this number exists, whoever owns it. */
export function processExists(pid: number): boolean {
  return libc().kill(pid, 0) === 0 || lastErrno() === ERRNO.EPERM;
}

/** Sets which permissions new files lack. Returns what it was before. */
export function setUmask(mask: number): number {
  return libc().umask(mask);
}

/**
 * Leaves the terminal and whoever started this process: a session of its own, `/` as the
 * directory, /dev/null behind standard input, output and error and behind every other
 * descriptor of the same files, so that nobody waits for their end.
 *
 * @throws {SystemError} /dev/null cannot be opened.
 */
export function leaveCaller(): void {
  // Fails only for a process that leads its group already, which is as good.
  libc().setsid();
  libc().chdir(cString("/"));
  const standard = [0, 1, 2].map(fileOf);
  const same = openDescriptors().filter((fd) => standard.includes(fileOf(fd)));
  pointAtNull(new Set([0, 1, 2, ...same]));
}

/** What tells a file from others, for descriptors that are open. */
function fileOf(fd: number): string {
  const status = statusOf(fd);
  // Anonymous inodes (event loops) all share one number.
  if (status === undefined || status.type === "other") return `descriptor ${fd}`;
  return `${status.device} ${status.inode}`;
}

/**
 * Sets what `ps` and `pgrep -f` show of this process: `hastd: NAME (ROLE)`.
 *
 * On Linux the title takes the place of the arguments, so it can be as long as they were
 * together; a longer one loses the end of its NAME. Who starts a process with a long title
 * therefore gives it the title as an argument. The name of the thread, up to 15 bytes, becomes
 * `hastd`: call this on the main thread.
 */
export function setTitle(title: string): void {
  if (hostOs() === "freebsd") {
    freebsdLibc().setproctitle(cString("-%s"), cString(title));
    return;
  }
  const room = argumentBytes();
  const bytes = cString(fitTitle(title, room.length - 1));
  room.fill(0);
  room.set(bytes);
  const name = cString((/^[\w-]{1,15}/.exec(title)?.[0]) ?? "hastd");
  linuxLibc().prctl(PR_SET_NAME, name, 0, 0, 0);
}

/**
 * `title` in at most `byteCountMax` bytes of UTF-8; what stands in brackets at its end stays.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(fitTitle("hastd: database (primary)", 22), "hastd: da... (primary)");
 * ```
 */
export function fitTitle(title: string, byteCountMax: number): string {
  const encoder = new TextEncoder();
  if (encoder.encode(title).length <= byteCountMax) return title;
  const end = `...${/ \([^()]*\)$/.exec(title)?.[0] ?? ""}`;
  const startBytes = Math.max(0, byteCountMax - end.length);
  const start = encoder.encode(title).subarray(0, startBytes);
  // A character that was cut in two is left out.
  const text = new TextDecoder().decode(start).replace(/\uFFFD+$/, "");
  return (text + end).slice(0, Math.max(0, byteCountMax));
}

/** The memory where the kernel looks for the arguments of this process. */
function argumentBytes(): Uint8Array<ArrayBuffer> {
  const stat = Deno.readTextFileSync("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const start = BigInt(fields[ARG_START] ?? 0);
  const end = BigInt(fields[ARG_END] ?? 0);
  return start === 0n || end <= start ? new Uint8Array(1) : bytesAt(start, Number(end - start));
}
