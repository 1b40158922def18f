/**
 * Addresses of sockets as text, for comparison only.
 *
 * Source: sockaddr(3), ip(7), ipv6(7), unix(7); FreeBSD netinet/in.h, sys/un.h.
 * @module
 */
import { hostOs, libc } from "./libc.ts";

/** Larger than any address: struct sockaddr_storage. */
const SOCKADDR_BYTES = 128;

/** struct sockaddr: Linux has family u16 @0; FreeBSD length u8 @0, family u8 @1. */
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = { linux: 10, freebsd: 28 };

/** sockaddr_in: port big-endian @2, address @4. sockaddr_in6: port @2, address @8. */
const PORT_OFFSET = 2;
const V4_OFFSET = 4;
const V6_OFFSET = 8;
/** sockaddr_un: path @2, ends at a NUL or with the address. */
const PATH_OFFSET = 2;

/** Which end of a socket. */
export type SocketEnd = "local" | "remote";

/**
 * The address of one end of a socket: `ip PORT ADDRESS`, `unix PATH` (`unix ` where it has no
 * name), or undefined where `fd` is no socket, has no such end or is of another family.
 */
export function addressOf(fd: number, end: SocketEnd): string | undefined {
  const bytes = new Uint8Array(SOCKADDR_BYTES);
  const size = new Uint32Array([SOCKADDR_BYTES]);
  const sizeBytes = new Uint8Array(size.buffer);
  const result = end === "local"
    ? libc().getsockname(fd, bytes, sizeBytes)
    : libc().getpeername(fd, bytes, sizeBytes);
  return result === 0 ? decode(bytes.subarray(0, size[0])) : undefined;
}

/** What {@link addressOf} says of a socket with this address. */
export function addressText(address: Deno.Addr): string {
  if (address.transport === "tcp" || address.transport === "udp") {
    return internet(address.port, address.hostname);
  }
  // Deno says null for a socket without a name, whatever its types say.
  return "path" in address ? `unix ${address.path ?? ""}` : "";
}

function decode(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  const os = hostOs();
  const view = new DataView(bytes.buffer, 0, bytes.length);
  // A socket without any name may have no bytes at all.
  if (bytes.length < 2) return "unix ";
  const family = os === "linux" ? view.getUint16(0, true) : view.getUint8(1);
  switch (family) {
    case AF_UNIX:
      return `unix ${new TextDecoder().decode(untilNul(bytes.subarray(PATH_OFFSET)))}`;
    case AF_INET:
      return internet(
        view.getUint16(PORT_OFFSET),
        bytes.subarray(V4_OFFSET, V4_OFFSET + 4).join("."),
      );
    case AF_INET6[os]:
      return internet(view.getUint16(PORT_OFFSET), hextets(view));
    default:
      return undefined;
  }
}

function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end === -1 ? bytes : bytes.subarray(0, end);
}

function hextets(view: DataView): string {
  return Array.from({ length: 8 }, (_, index) => view.getUint16(V6_OFFSET + 2 * index).toString(16))
    .join(":");
}

/** One spelling for all spellings of an address: that of the URL standard; zones are left out. */
function internet(port: number, host: string): string {
  const bare = host.split("%", 1)[0] ?? host;
  const name = bare.includes(":") ? new URL(`http://[${bare}]/`).hostname : bare;
  return `ip ${port} ${name}`;
}
