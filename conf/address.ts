/**
 * Addresses of hast.conf: of `control`, `listen`, `remote`, `source` and `provider nbd`.
 *
 *   tcp://HOST[:PORT]  tcp4://...  tcp6://...  HOST[:PORT]   HOST: name, IPv4, [IPv6] or IPv6
 *   uds:///PATH  unix:///PATH  /PATH
 *
 * A bare IPv6 address has no port: with a port it stands in brackets. The kind in front of `://`
 * may be in capitals.
 *
 * Source: hast.conf(5); conf.md, addresses.
 * @module
 */
import { ConfigError } from "../base/errors.ts";
import { shown } from "./place.ts";

/** Port of hastd where none is given. */
export const PORT_DEFAULT = 8457;
/** Port of NBD where none is given (IANA). */
export const NBD_PORT_DEFAULT = 10809;
const HOST_NAME_BYTES_MAX = 255;

export interface TcpAddress {
  kind: "tcp";
  /** 4 or 6 where the prefix or the literal says so; undefined for a plain name. */
  family: 4 | 6 | undefined;
  /** Name or literal, without brackets. */
  host: string;
  /** 1..65535, or the default that was passed. */
  port: number;
}

export interface UnixAddress {
  kind: "unix";
  /** Absolute. */
  path: string;
}

export type Address = TcpAddress | UnixAddress;

type Problem = { problem: string };

/**
 * Reads an address.
 *
 * @param portDefault Port where `text` has none: {@link PORT_DEFAULT}; 0 (any) for `source`.
 * @throws {ConfigError} `text` is not an address; the message says why.
 */
export function parseAddress(text: string, portDefault: number = PORT_DEFAULT): Address {
  const address = readAddress(text, portDefault);
  if ("problem" in address) {
    throw new ConfigError(`Invalid address ${shown(text)}: ${address.problem}.`);
  }
  return address;
}

/** What is wrong with an address, or undefined where nothing is. */
export function addressProblem(text: string, kinds: "tcp" | "unix" | "both"): string | undefined {
  const address = readAddress(text, PORT_DEFAULT);
  if ("problem" in address) {
    if (kinds !== "unix") return address.problem;
    return "expected an absolute path, uds://PATH or unix://PATH";
  }
  if (kinds === "both" || kinds === address.kind) return undefined;
  return kinds === "tcp"
    ? "expected a TCP address, found a path"
    : "expected an absolute path, uds://PATH or unix://PATH, found a TCP address";
}

/** The address in full, as {@link parseAddress} reads it back: `tcp6://[::1]:8457`, `uds:///x`. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `uds://${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `tcp${address.family ?? ""}://${host}${address.port === 0 ? "" : `:${address.port}`}`;
}

function readAddress(text: string, portDefault: number): Address | Problem {
  const [, scheme, rest] = /^([A-Za-z0-9]*):\/\/(.*)$/s.exec(text) ?? [];
  switch (scheme?.toLowerCase()) {
    case undefined:
      return text.startsWith("/") ? readPath(text) : readTcp(text, undefined, portDefault);
    case "uds":
    case "unix":
      return readPath(rest ?? "");
    case "tcp":
      return readTcp(rest ?? "", undefined, portDefault);
    case "tcp4":
      return readTcp(rest ?? "", 4, portDefault);
    case "tcp6":
      return readTcp(rest ?? "", 6, portDefault);
    default:
      return { problem: `unknown kind of address ${shown(scheme ?? "")}://` };
  }
}

function readPath(path: string): UnixAddress | Problem {
  if (!path.startsWith("/")) return { problem: "the path of a socket must begin with /" };
  if (path.includes("\0")) return { problem: "a path cannot contain a NUL" };
  return { kind: "unix", path };
}

function readTcp(text: string, family: 4 | 6 | undefined, portDefault: number): Address | Problem {
  const { host, portText, bracketed } = splitPort(text);
  const port = portText === undefined ? portDefault : readPort(portText);
  if (port === undefined) {
    return { problem: `the port must be 1 to 65535, not '${shown(portText ?? "")}'` };
  }
  const literal = literalFamily(host);
  const problem = hostProblem(host, literal, bracketed);
  if (problem !== undefined) return { problem };
  if (family !== undefined && literal !== undefined && family !== literal) {
    return { problem: `${host} is not an IPv${family} address` };
  }
  return { kind: "tcp", family: family ?? literal, host, port };
}

function splitPort(text: string): { host: string; portText?: string; bracketed: boolean } {
  const [, inside, insidePort] = /^\[([^\]]*)\](?::(.*))?$/s.exec(text) ?? [];
  if (inside !== undefined) return { host: inside, portText: insidePort, bracketed: true };
  const colon = text.indexOf(":");
  if (colon === -1 || colon !== text.lastIndexOf(":")) return { host: text, bracketed: false };
  return { host: text.slice(0, colon), portText: text.slice(colon + 1), bracketed: false };
}

function readPort(text: string): number | undefined {
  if (!/^[0-9]{1,5}$/.test(text)) return undefined;
  const port = Number(text);
  return port >= 1 && port <= 65535 ? port : undefined;
}

function literalFamily(host: string): 4 | 6 | undefined {
  if (/^[0-9]{1,3}(\.[0-9]{1,3}){3}$/.test(host)) {
    return host.split(".").every((octet) => Number(octet) <= 255) ? 4 : undefined;
  }
  // A URL parser knows what an IPv6 address is; the pattern keeps everything else of a URL out.
  return /^[0-9A-Fa-f:.]+$/.test(host) && host.includes(":") && URL.canParse(`http://[${host}]/`)
    ? 6
    : undefined;
}

function hostProblem(host: string, literal: 4 | 6 | undefined, bracketed: boolean) {
  if (host === "") return "the host is missing (all addresses: 0.0.0.0 or [::])";
  if (host.length > HOST_NAME_BYTES_MAX) {
    return `a host name has at most ${HOST_NAME_BYTES_MAX} characters`;
  }
  if (bracketed || host.includes(":")) {
    return literal === 6 ? undefined : `'${shown(host)}' is not an IPv6 address`;
  }
  if (literal === 4) return undefined;
  if (/^[0-9.]+$/.test(host)) return `'${shown(host)}' is not an IPv4 address`;
  return /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?$/.test(host)
    ? undefined
    : `'${shown(host)}' is not a host name`;
}
