/**
 * Accepts the connections of other nodes. Each is served by itself; how many may be half way
 * through the handshake is limited, in total and for each address.
 *
 * Source: wire.md, Handshake; conf.md, listen.
 * @module
 */
import type { Log } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";
import { socketFd } from "../ffi/socket.ts";
import type { StreamConn } from "./frame_stream.ts";
import type { HandshakeServer } from "./handshake_server.ts";
import {
  closeListening,
  isServing,
  type Listening,
  type ListenSocket,
  openListenSockets,
  serves,
} from "./listen_sockets.ts";
import { PeerConnection } from "./peer_connection.ts";

/** So many connections may be between accept and the end of their first frame. */
export const HALFWAY_MAX = 512;
/** And so many of them from one address: a primary has one per resource at a time. */
export const HALFWAY_PER_ADDRESS_MAX = 128;
/** Pause before the next accept when the process has run out of descriptors. */
const ACCEPT_PAUSE_MS = 200;

/** The `listen` addresses of the configuration, open. */
export class Listener {
  readonly #handshakes: HandshakeServer;
  readonly #log: Log;
  #listening: Listening[] = [];
  readonly #accepting = new Set<ListenSocket>();
  readonly #halfway = new Set<PeerConnection>();
  #serving = false;

  constructor(handshakes: HandshakeServer, log: Log) {
    this.#handshakes = handshakes;
    this.#log = log;
  }

  /** The addresses, as written, that are open. */
  get addresses(): string[] {
    return this.#listening.map(({ address }) => address);
  }

  /**
   * Opens further addresses, all or none. Connections wait until {@link serve}.
   *
   * @param defaulted Those that the kernel lacks are left out.
   * @throws {HastError} Exit code 71, `Unable to listen on address A: REASON.`
   */
  async open(addresses: readonly string[], defaulted: boolean): Promise<void> {
    const added = await openListenSockets(addresses, defaulted, this.#listening);
    this.#listening = [...this.#listening, ...added];
    if (this.#serving) this.serve();
  }

  /** Begins to accept. */
  serve(): void {
    this.#serving = true;
    for (const { socket } of this.#listening) {
      if (!this.#accepting.has(socket)) void this.#acceptFrom(socket);
    }
  }

  /** Stops listening on one address. */
  closeAddress(address: string): void {
    const gone = this.#listening.filter((each) => each.address === address);
    this.#listening = this.#listening.filter((each) => each.address !== address);
    for (const each of gone) closeListening(each, this.#listening);
  }

  /** Stops listening and hangs up on everybody who is half way. */
  close(): void {
    const sockets = new Set(this.#listening.map(({ socket }) => socket));
    this.#listening = [];
    for (const socket of sockets) socket.close();
    for (const connection of this.#halfway) connection.close();
  }

  async #acceptFrom(socket: ListenSocket): Promise<void> {
    this.#accepting.add(socket);
    while (isServing(socket, this.#listening)) {
      try {
        this.#admit(socket, await socket.listener.accept());
      } catch (error) {
        if (!isServing(socket, this.#listening)) break;
        this.#log.error(`Unable to accept connection ${socket.local}: ${systemErrorText(error)}.`);
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
      }
    }
    this.#accepting.delete(socket);
  }

  #admit(socket: ListenSocket, conn: StreamConn): void {
    const connection = new PeerConnection(conn);
    try {
      // Unix connections look alike from outside: this one is told apart while it is the newest.
      if (connection.ip === undefined) socketFd(conn);
    } catch (error) {
      connection.close();
      throw error;
    }
    if (!serves(socket, connection.localIp)) return connection.close();
    this.#log.debug(1, `Accepting connection to ${localTextOf(socket, connection)}.`);
    this.#log.info(`Connection from ${connection.peer} to ${connection.local}.`);
    if (this.#isCrowded(connection)) {
      this.#log.warning(`Too many connections at once, closing the one from ${connection.peer}.`);
      return connection.close();
    }
    void this.#serveConnection(connection);
  }

  async #serveConnection(connection: PeerConnection): Promise<void> {
    this.#halfway.add(connection);
    try {
      await this.#handshakes.serve(connection);
    } finally {
      this.#halfway.delete(connection);
    }
  }

  #isCrowded({ ip }: PeerConnection): boolean {
    if (this.#halfway.size >= HALFWAY_MAX) return true;
    let sameAddress = 0;
    for (const other of this.#halfway) if (other.ip === ip) sameAddress++;
    return sameAddress >= HALFWAY_PER_ADDRESS_MAX;
  }
}

/** The listening address, which for a socket that serves two families is the peer's family's. */
function localTextOf(socket: ListenSocket, { localIp }: PeerConnection): string {
  if (localIp === undefined || localIp.includes(":") || !socket.local.includes("[::]")) {
    return socket.local;
  }
  const ip = socket.ips?.has(localIp) ? localIp : "0.0.0.0";
  return `tcp://${ip}:${socket.port}`;
}
