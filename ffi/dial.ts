/**
 * Connecting to another host by system calls: from a chosen source address, which Deno.connect
 * does not offer, and without a descriptor that Deno owns.
 *
 *   sockaddr_in   port @2 and address @4, both big-endian; 16 bytes
 *   sockaddr_in6  port @2, address @8; 28 bytes
 *   sockaddr_un   path @2
 *   all           Linux: family u16 @0; FreeBSD: size u8 @0, family u8 @1
 *
 * Source: socket(2), bind(2), connect(2), ip(7), ipv6(7), unix(7); FreeBSD netinet/in.h, sys/un.h.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import { SystemError } from "../base/system_error.ts";
import { closeFd } from "./descriptor.ts";
import { lastErrno } from "./errno.ts";
import { hostOs, libc } from "./libc.ts";
import { POLL } from "./poll.ts";
import { takeSocketError } from "./socket.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = { linux: 10, freebsd: 28 };
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = { linux: 0o4000, freebsd: 0x20000000 };
const SOCK_CLOEXEC = { linux: 0o2000000, freebsd: 0x10000000 };
const UNIX_PATH_BYTES_MAX = { linux: 107, freebsd: 103 };

/** Where to connect to, or from. */
export type SocketAddress =
  /** An IPv4 or IPv6 literal without brackets; port 0 for any, as a source. */
  | { kind: "tcp"; ip: string; port: number }
  | { kind: "unix"; path: string };

export interface DialOptions {
  /** Address of this host to connect from. */
  source?: SocketAddress;
  timeoutMs: number;
}

/**
 * Connects a stream socket. The result belongs to the caller, does not block, and is not
 * inherited by programs.
 *
 * @throws {SystemError} It cannot be connected (ETIMEDOUT: not in time), or `source` is not ours.
 */
export async function dial(target: SocketAddress, options: DialOptions): Promise<number> {
  const os = hostOs();
  const type = SOCK_STREAM | SOCK_NONBLOCK[os] | SOCK_CLOEXEC[os];
  const fd = libc().socket(familyOf(target), type, 0);
  if (fd === -1) throw new SystemError(lastErrno(), "socket");
  try {
    if (options.source !== undefined) bindTo(fd, options.source);
    await connect(fd, target, options.timeoutMs);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/**
 * Waits until `fd` is ready, on another thread.
 *
 * @param events Bits of `POLL`.
 * @returns False if it was not in time.
 */
export async function waitForFd(fd: number, events: number, timeoutMs: number): Promise<boolean> {
  const entry = new Uint8Array(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, events, true);
  const waitMs = Math.max(0, Math.ceil(timeoutMs));
  return await libc().pollLater(entry, 1, waitMs) > 0;
}

function bindTo(fd: number, source: SocketAddress): void {
  const address = encodeAddress(source);
  if (libc().bind(fd, address, address.length) !== 0) throw new SystemError(lastErrno(), "bind");
}

async function connect(fd: number, target: SocketAddress, timeoutMs: number): Promise<void> {
  const address = encodeAddress(target);
  if (libc().connect(fd, address, address.length) === 0) return;
  const errno = lastErrno();
  if (errno !== ERRNO.EINPROGRESS && errno !== ERRNO.EINTR) throw new SystemError(errno, "connect");
  if (!await waitForFd(fd, POLL.out, timeoutMs)) throw new SystemError(ERRNO.ETIMEDOUT, "connect");
  const result = takeSocketError(fd);
  if (result !== 0) throw new SystemError(result, "connect");
}

function familyOf(address: SocketAddress): number {
  if (address.kind === "unix") return AF_UNIX;
  return address.ip.includes(":") ? AF_INET6[hostOs()] : AF_INET;
}

/** The address as the system calls want it. */
function encodeAddress(address: SocketAddress): Uint8Array<ArrayBuffer> {
  if (address.kind === "unix") return encodeUnix(address.path);
  const v6 = address.ip.includes(":");
  const bytes = startAddress(familyOf(address), v6 ? 28 : 16);
  new DataView(bytes.buffer).setUint16(2, address.port);
  bytes.set(v6 ? ipv6Bytes(address.ip) : ipv4Bytes(address.ip), v6 ? 8 : 4);
  return bytes;
}

function encodeUnix(path: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(path);
  if (text.length > UNIX_PATH_BYTES_MAX[hostOs()]) {
    throw new SystemError(ERRNO.ENAMETOOLONG, "connect");
  }
  const bytes = startAddress(AF_UNIX, 2 + text.length + 1);
  bytes.set(text, 2);
  return bytes;
}

function startAddress(family: number, byteCount: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(byteCount);
  bytes.set(hostOs() === "linux" ? [family, 0] : [byteCount, family]);
  return bytes;
}

function ipv4Bytes(ip: string): number[] {
  const octets = ip.split(".").map(Number);
  invariant(octets.length === 4 && octets.every((octet) => octet >= 0 && octet <= 255), "IPv4");
  return octets;
}

function ipv6Bytes(ip: string): number[] {
  // The URL parser knows every spelling and leaves at most one "::".
  const [head = "", tail] = new URL(`http://[${ip}]/`).hostname.slice(1, -1).split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = new Array<string>(8 - before.length - after.length).fill("0");
  const groups = [...before, ...(tail === undefined ? [] : zeros), ...after];
  return groups.flatMap((group) => {
    const value = parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
