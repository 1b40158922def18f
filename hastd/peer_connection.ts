/**
 * A connection that another node made to us, from accept until it is refused or handed on.
 * @module
 */
import { FrameStream, type StreamConn } from "./frame_stream.ts";

/** Largest header of a handshake: a resource name and a few numbers. Ours. */
export const HANDSHAKE_HEADER_BYTES_MAX = 16 * 1024;

/** A connection of a peer. Owned by whoever closes or releases it. */
export class PeerConnection {
  /** The peer, for messages: `tcp://127.0.0.1:40000`; `uds://` over a Unix socket. */
  readonly peer: string;
  /** Our end. */
  readonly local: string;
  /** Address of the peer, see {@link canonicalIp}; undefined over a Unix socket. */
  readonly ip: string | undefined;
  /** Our address, likewise. */
  readonly localIp: string | undefined;
  readonly stream: FrameStream;
  readonly #conn: StreamConn;
  #gone = false;

  constructor(conn: StreamConn) {
    this.#conn = conn;
    this.stream = new FrameStream(conn, HANDSHAKE_HEADER_BYTES_MAX);
    this.peer = addressText(conn.remoteAddr);
    this.local = addressText(conn.localAddr);
    this.ip = ipOf(conn.remoteAddr);
    this.localIp = ipOf(conn.localAddr);
    try {
      if ("setNoDelay" in conn) conn.setNoDelay(true);
    } catch {
      // The peer has gone already: the first read will tell.
    }
  }

  /** Ends the connection; does nothing once it was closed or released. */
  close(): void {
    if (this.#gone) return;
    this.#gone = true;
    try {
      this.#conn.close();
    } catch {
      // The kernel has closed it already.
    }
  }

  /** Gives the socket away: this object does not close it any more. */
  release(): StreamConn {
    this.#gone = true;
    return this.#conn;
  }
}

/**
 * One spelling for each IP address: IPv6 in its shortest form and without zone, IPv4 that came
 * through an IPv6 socket as IPv4.
 */
export function canonicalIp(address: string): string {
  const plain = address.split("%", 1)[0] ?? "";
  if (!plain.includes(":") || !URL.canParse(`http://[${plain}]/`)) return plain;
  const short = new URL(`http://[${plain}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped === null) return short;
  const halves = [mapped[1], mapped[2]].map((half) => parseInt(half ?? "", 16));
  return halves.flatMap((half) => [half >> 8, half & 0xff]).join(".");
}

/** An address of a socket as hastd's messages have it. */
export function addressText(address: Deno.Addr): string {
  if (address.transport !== "tcp" && address.transport !== "udp") {
    return `uds://${"path" in address ? address.path ?? "" : ""}`;
  }
  const ip = canonicalIp(address.hostname);
  return `tcp://${ip.includes(":") ? `[${ip}]` : ip}:${address.port}`;
}

function ipOf(address: Deno.Addr): string | undefined {
  return address.transport === "tcp" ? canonicalIp(address.hostname) : undefined;
}
