/**
 * Sockets as descriptors: find the descriptor of a connection or listener of Deno, take a
 * connection away from Deno, and use it by system calls that never block.
 *
 * Results of the data path are a byte count >= 0 or a negative errno (FreeBSD's number); nothing
 * here throws but where a docstring says so.
 *
 * Source: recv(2), send(2), sendmsg(2), setsockopt(2), tcp(7) of Linux, tcp(4) of FreeBSD,
 * epoll_ctl(2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import { closeFd, duplicate, openDescriptors, pointAtNull, statusOf } from "./descriptor.ts";
import { errnoFromLinux, lastErrno } from "./errno.ts";
import { type IovecList } from "./iovec.ts";
import { hostOs, libc, linuxLibc } from "./libc.ts";
import { addressOf, addressText } from "./sockaddr.ts";

const MSG_DONTWAIT = { linux: 0x40, freebsd: 0x80 };
const MSG_NOSIGNAL = { linux: 0x4000, freebsd: 0x20000 };
const SHUTDOWN_HOW = { read: 0, write: 1, both: 2 };
const IPPROTO_TCP = 6;
const EPOLL_CTL_DEL = 2;

/** Option numbers; `userTimeout` is TCP_USER_TIMEOUT in ms, TCP_MAXUNACKTIME in seconds. */
const SOCKET_OPTION = {
  linux: { level: 1, acceptConn: 30, error: 4, sendBytes: 7, receiveBytes: 8, keepAlive: 9 },
  freebsd: {
    level: 0xffff,
    acceptConn: 2,
    error: 0x1007,
    sendBytes: 0x1001,
    receiveBytes: 0x1002,
    keepAlive: 8,
  },
};
const TCP_OPTION = {
  linux: { noDelay: 1, keepIdle: 4, keepInterval: 5, keepCount: 6, userTimeout: 18 },
  freebsd: { noDelay: 1, keepIdle: 256, keepInterval: 512, keepCount: 1024, userTimeout: 68 },
};

/**
 * Unix connections that were identified, by descriptor; the inode tells whether the number
 * means another socket by now.
 */
const identified = new Map<number, bigint>();
/** What a search has found: a second one would pass over a connection that is identified. */
const found = new WeakMap<object, number>();

/**
 * The descriptor of a connection that Deno accepted or dialed. Deno keeps owning it.
 *
 * Unix connections to one path look the same from outside: identify each one before the next is
 * accepted or dialed.
 *
 * @throws {HastError} The connection is closed, or several could be meant.
 */
export function socketFd(conn: Deno.TcpConn | Deno.UnixConn): number {
  const known = fdProperty(conn) ?? found.get(conn);
  if (known !== undefined) return known;
  const local = addressText(conn.localAddr);
  const remote = addressText(conn.remoteAddr);
  const fd = findSocket((candidate) =>
    !isListening(candidate) && addressOf(candidate, "local") === local &&
    addressOf(candidate, "remote") === remote && !isIdentified(candidate)
  );
  identify(fd);
  found.set(conn, fd);
  return fd;
}

/**
 * The descriptor of a listener of Deno, which keeps owning it.
 *
 * @throws {HastError} The listener is closed, or several listen on its address.
 */
export function listenerFd(listener: Deno.Listener | Deno.UnixListener): number {
  const address = addressText(listener.addr);
  return findSocket((candidate) =>
    isListening(candidate) && addressOf(candidate, "local") === address
  );
}

/**
 * Takes a connection away from Deno: afterwards `conn` is closed, and the socket belongs to the
 * caller, under a new number that programs do not inherit.
 *
 * No `read` or `write` of `conn` may be pending. See {@link socketFd} for Unix connections.
 *
 * @throws {HastError} The connection is closed, or there are too many descriptors.
 */
export function detachSocket(conn: Deno.TcpConn | Deno.UnixConn): number {
  const fd = socketFd(conn);
  const ownFd = duplicate(fd);
  identify(ownFd);
  // Otherwise every packet would go on waking Deno's event loop: epoll watches the socket, not
  // the number. kqueue watches the number.
  if (Deno.build.os === "linux") removeFromEpoll(fd);
  // close() of Deno shuts the socket down first; here that hits /dev/null.
  pointAtNull([fd]);
  identified.delete(fd);
  found.delete(conn);
  conn.close();
  return ownFd;
}

/** Closes a socket that was taken by {@link detachSocket}. */
export function closeSocket(fd: number): void {
  identified.delete(fd);
  closeFd(fd);
}

/**
 * Receives what there is, at most `byteCount` bytes, into memory at `address`.
 *
 * @returns Bytes received, 0 at the end of the stream, -EAGAIN where there is nothing yet.
 */
export function recv(fd: number, address: bigint, byteCount: number): number {
  const flags = MSG_DONTWAIT[hostOs()];
  for (;;) {
    const result = libc().recv(fd, address, byteCount, flags);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/** As {@link recv}, into memory of JavaScript. */
export function recvBytes(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  const flags = MSG_DONTWAIT[hostOs()];
  for (;;) {
    const result = libc().recvBuffer(fd, bytes, bytes.length, flags);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/**
 * Sends as much of the memory at `address` as the kernel takes now.
 *
 * @returns Bytes taken, -EAGAIN where there is no room, -EPIPE where nobody reads any more.
 */
export function send(fd: number, address: bigint, byteCount: number): number {
  const flags = sendFlags();
  for (;;) {
    const result = libc().send(fd, address, byteCount, flags);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/** As {@link send}, from memory of JavaScript. */
export function sendBytes(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  const flags = sendFlags();
  for (;;) {
    const result = libc().sendBuffer(fd, bytes, bytes.length, flags);
    if (result >= 0) return result;
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/**
 * As {@link send}, from many places at once; what was taken is removed from `list`.
 *
 * @param list Not empty.
 */
export function sendVector(fd: number, list: IovecList): number {
  const flags = sendFlags();
  const message = list.message();
  for (;;) {
    const result = libc().sendmsg(fd, message, flags);
    if (result >= 0) {
      list.advance(result);
      return result;
    }
    const errno = lastErrno();
    if (errno !== ERRNO.EINTR) return -errno;
  }
}

/** Ends one direction of a connection or both. Returns 0 or an errno. */
export function shutdownSocket(fd: number, how: keyof typeof SHUTDOWN_HOW): number {
  return libc().shutdown(fd, SHUTDOWN_HOW[how]) === 0 ? 0 : lastErrno();
}

/** The error that waits on a socket (after POLLERR), which is then forgotten; 0 for none. */
export function takeSocketError(fd: number): number {
  const { level, error } = SOCKET_OPTION[hostOs()];
  const hostErrno = getOption(fd, level, error);
  if (hostErrno === undefined) return lastErrno();
  return Deno.build.os === "linux" ? errnoFromLinux(hostErrno) : hostErrno;
}

/** Sends small writes at once (TCP_NODELAY), which is not the default. Returns 0 or an errno. */
export function setNoDelay(fd: number, noDelay: boolean): number {
  return setOption(fd, IPPROTO_TCP, TCP_OPTION[hostOs()].noDelay, noDelay ? 1 : 0);
}

/** Asks for kernel buffers of these sizes; the system may give others. Returns 0 or an errno. */
export function setBufferSizes(fd: number, sendBytes: number, receiveBytes: number): number {
  const options = SOCKET_OPTION[hostOs()];
  return setOption(fd, options.level, options.sendBytes, sendBytes) ||
    setOption(fd, options.level, options.receiveBytes, receiveBytes);
}

/** When TCP asks an idle peer whether it lives, and how often until it gives up. */
export interface KeepAlive {
  idleSeconds: number;
  intervalSeconds: number;
  probeCount: number;
}

/** Lets TCP find out that an idle peer has gone. Returns 0 or an errno. */
export function setKeepAlive(fd: number, settings: KeepAlive): number {
  const socket = SOCKET_OPTION[hostOs()];
  const tcp = TCP_OPTION[hostOs()];
  return setOption(fd, socket.level, socket.keepAlive, 1) ||
    setOption(fd, IPPROTO_TCP, tcp.keepIdle, settings.idleSeconds) ||
    setOption(fd, IPPROTO_TCP, tcp.keepInterval, settings.intervalSeconds) ||
    setOption(fd, IPPROTO_TCP, tcp.keepCount, settings.probeCount);
}

/**
 * Ends a connection whose peer acknowledges nothing for this long. Returns 0 or an errno;
 * FreeBSD counts in whole seconds.
 */
export function setUserTimeout(fd: number, timeoutMs: number): number {
  const os = hostOs();
  const value = os === "linux" ? timeoutMs : Math.ceil(timeoutMs / 1000);
  return setOption(fd, IPPROTO_TCP, TCP_OPTION[os].userTimeout, value);
}

function sendFlags(): number {
  const os = hostOs();
  return MSG_DONTWAIT[os] | MSG_NOSIGNAL[os];
}

function setOption(fd: number, level: number, name: number, value: number): number {
  const bytes = new Uint8Array(new Int32Array([value]).buffer);
  return libc().setsockopt(fd, level, name, bytes, 4) === 0 ? 0 : lastErrno();
}

function getOption(fd: number, level: number, name: number): number | undefined {
  const value = new Int32Array(1);
  const size = new Uint8Array(new Uint32Array([4]).buffer);
  const result = libc().getsockopt(fd, level, name, new Uint8Array(value.buffer), size);
  return result === 0 ? value[0] : undefined;
}

/** Deno's own word for it: TCP connections that it accepted have their descriptor in a property. */
function fdProperty(conn: object): number | undefined {
  for (const symbol of Object.getOwnPropertySymbols(conn)) {
    if (symbol.description !== "Deno.internal.fd") continue;
    const value: unknown = Reflect.get(conn, symbol);
    if (typeof value === "number" && value >= 0) return value;
  }
  return undefined;
}

function findSocket(matches: (fd: number) => boolean): number {
  const candidates = openDescriptors().filter(matches);
  const [fd] = candidates;
  if (fd !== undefined && candidates.length === 1) return fd;
  throw new HastError(
    EX.osErr,
    `Unable to find the descriptor of a socket: ${candidates.length} of the open ones match.`,
  );
}

function isListening(fd: number): boolean {
  const { level, acceptConn } = SOCKET_OPTION[hostOs()];
  return getOption(fd, level, acceptConn) === 1;
}

function isIdentified(fd: number): boolean {
  const inode = identified.get(fd);
  return inode !== undefined && statusOf(fd)?.inode === inode;
}

function identify(fd: number): void {
  // Other connections are told apart by their addresses.
  if (!addressOf(fd, "local")?.startsWith("unix ")) return;
  const status = statusOf(fd);
  if (status !== undefined) identified.set(fd, status.inode);
}

function removeFromEpoll(fd: number): void {
  const event = new Uint8Array(16);
  for (const epollFd of epollDescriptors()) {
    // ENOENT where this set does not watch the socket.
    linuxLibc().epoll_ctl(epollFd, EPOLL_CTL_DEL, fd, event);
  }
}

function epollDescriptors(): number[] {
  return openDescriptors().filter((fd) => {
    // Anonymous inodes are no file, socket or pipe to statx.
    if (statusOf(fd)?.type !== "other") return false;
    return linkOf(fd) === "anon_inode:[eventpoll]";
  });
}

function linkOf(fd: number): string {
  try {
    return Deno.readLinkSync(`/proc/self/fd/${fd}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return ""; // Closed by another thread meanwhile.
    throw error;
  }
}
