/**
 * The sockets on which other nodes connect: one per `listen` address, IPv4, IPv6 or Unix.
 *
 * Linux lets an IPv6 wildcard socket take IPv4 as well, and then refuses IPv4 sockets at the same
 * port. Where that happens the one IPv6 socket serves both addresses; IPv4 connections to an
 * address that nobody listed are closed.
 *
 * Source: conf.md, listen; ipv6(7) of Linux and ip6(4) of FreeBSD on IPV6_V6ONLY.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import { systemErrorName, systemErrorText } from "../base/system_error.ts";
import { type Address, parseAddress, type TcpAddress } from "../conf/address.ts";
import { systemResolver } from "./peer_access.ts";
import { addressText, canonicalIp } from "./peer_connection.ts";
import { listenUnix } from "./unix_listener.ts";

/** A socket, shared by the addresses that it serves. */
export interface ListenSocket {
  readonly listener: Deno.TcpListener | Deno.UnixListener;
  /** What follows `Accepting connection to`. */
  readonly local: string;
  /** The IP addresses (wildcards included) that were asked for; undefined for a path. */
  readonly ips: Set<string> | undefined;
  readonly port: number;
  close(): void;
}

/** One `listen` address and the socket that serves it. */
export interface Listening {
  /** As written. */
  readonly address: string;
  /** The IP address, wildcards included; undefined for a path. */
  readonly ip: string | undefined;
  socket: ListenSocket;
}

/** What a kernel without that family, or without addresses of it, says. */
const UNSUPPORTED = new Set(["EAFNOSUPPORT", "EPROTONOSUPPORT", "EADDRNOTAVAIL"]);

/**
 * Opens sockets for `addresses`, beside those of `open`; all of them or none.
 *
 * @param defaulted The addresses are the defaults: those that the kernel lacks are left out.
 * @returns One entry per address, in order.
 * @throws {HastError} Exit code 71, `Unable to listen on address A: REASON.`
 */
export async function openListenSockets(
  addresses: readonly string[],
  defaulted: boolean,
  open: readonly Listening[] = [],
): Promise<Listening[]> {
  const added: Listening[] = [];
  for (const address of addresses) {
    try {
      added.push(await openOne(address, [...open, ...added]));
    } catch (error) {
      const unsupported = UNSUPPORTED.has(systemErrorName(error) ?? "");
      if (defaulted && unsupported && (added.length > 0 || address !== addresses.at(-1))) continue;
      for (const { socket } of added) if (!isServing(socket, open)) socket.close();
      throw new HastError(
        EX.osErr,
        `Unable to listen on address ${address}: ${systemErrorText(error)}.`,
      );
    }
  }
  return added;
}

/** Whether one of `open` uses this very socket. */
export function isServing(socket: ListenSocket, open: readonly Listening[]): boolean {
  return open.some((each) => each.socket === socket);
}

/** Closes what serves `gone`, unless one of `open` needs it: then it only forgets the address. */
export function closeListening(gone: Listening, open: readonly Listening[]): void {
  if (!isServing(gone.socket, open)) return gone.socket.close();
  const needed = open.some(({ socket, ip }) => socket === gone.socket && ip === gone.ip);
  if (!needed && gone.ip !== undefined) gone.socket.ips?.delete(gone.ip);
}

/** Whether a connection to `localIp` is one to an address that was asked for. */
export function serves(socket: ListenSocket, localIp: string | undefined): boolean {
  if (socket.ips === undefined || localIp === undefined) return true;
  const wildcard = localIp.includes(":") ? "::" : "0.0.0.0";
  return socket.ips.has(localIp) || socket.ips.has(wildcard);
}

async function openOne(text: string, open: readonly Listening[]): Promise<Listening> {
  const address = parse(text);
  if (address.kind === "unix") {
    return { address: text, ip: undefined, socket: await openUnix(address.path) };
  }
  const ip = await hostOf(address);
  return { address: text, ip, socket: openOrShare(ip, address.port, open) };
}

function openOrShare(ip: string, port: number, open: readonly Listening[]): ListenSocket {
  try {
    return openTcp(ip, port);
  } catch (error) {
    if (systemErrorName(error) !== "EADDRINUSE") throw error;
    const shared = ip === "::" ? replaceIpv4(port, open) : joinIpv6(ip, port, open);
    if (shared === undefined) throw error;
    return shared;
  }
}

function parse(text: string): Address {
  try {
    return parseAddress(text);
  } catch {
    throw new HastError(EX.osErr, strerror(ERRNO.EINVAL));
  }
}

async function hostOf({ host, family }: TcpAddress): Promise<string> {
  if (host.includes(":") || /^[0-9.]+$/.test(host)) return canonicalIp(host);
  const [first] = await systemResolver(host, family).catch(() => []);
  if (first === undefined) throw new HastError(EX.osErr, strerror(ERRNO.EINVAL));
  return first;
}

async function openUnix(path: string): Promise<ListenSocket> {
  const { listener, close } = await listenUnix(path);
  return { listener, local: addressText(listener.addr), ips: undefined, port: 0, close };
}

function openTcp(host: string, port: number): ListenSocket {
  const listener = Deno.listen({ hostname: host, port });
  return {
    listener,
    local: addressText(listener.addr),
    ips: new Set([host]),
    port,
    close: () => listener.close(),
  };
}

/** Puts one IPv6 socket in the place of our own IPv4 sockets at this port. */
function replaceIpv4(port: number, open: readonly Listening[]): ListenSocket | undefined {
  const rivals = open.filter(({ socket }) => socket.port === port && socket.ips !== undefined);
  if (rivals.length === 0 || rivals.some(({ socket }) => socket.ips?.has("::"))) return undefined;
  const old = new Set(rivals.map(({ socket }) => socket));
  for (const socket of old) socket.close();
  try {
    const both = openTcp("::", port);
    for (const socket of old) socket.ips?.forEach((ip) => both.ips?.add(ip));
    for (const rival of rivals) rival.socket = both;
    return both;
  } catch {
    for (const socket of old) {
      const again = openTcp([...socket.ips ?? []][0] ?? "", port);
      for (const rival of rivals) if (rival.socket === socket) rival.socket = again;
    }
    return undefined;
  }
}

/** Lets our own IPv6 wildcard socket, which is in the way of this IPv4 address, serve it too. */
function joinIpv6(ip: string, port: number, open: readonly Listening[]): ListenSocket | undefined {
  if (Deno.build.os !== "linux" || ip.includes(":")) return undefined;
  const both = open.find(({ socket }) => socket.port === port && socket.ips?.has("::"))?.socket;
  both?.ips?.add(ip);
  return both;
}
