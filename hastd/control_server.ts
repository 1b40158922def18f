/**
 * The control socket: each client of hastctl is served by itself, so that a slow one holds up
 * nobody. What is answered is decided in hastd/control_desk.ts.
 *
 * Source: control.md, Control socket.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";
import { addressProblem, parseAddress } from "../conf/address.ts";
import { encodeFrame, PROTOCOL_VERSION } from "../protocol/frame.ts";
import type { Nv } from "../protocol/nv.ts";
import { FrameStream } from "./frame_stream.ts";
import { listenUnix, type UnixSocket } from "./unix_listener.ts";

/** So many clients are served at once; further ones are closed. */
export const CONTROL_CLIENTS_MAX = 64;
/** Largest request: 2,000 resources with the longest names. */
export const CONTROL_REQUEST_BYTES_MAX = 1024 * 1024;
/** A client has so long to send its request, and again to take the answer. */
export const CONTROL_TIMEOUT_MS = 20_000;
/** Pause before the next accept when the process has run out of descriptors. */
const ACCEPT_PAUSE_MS = 200;

/** Answers requests. */
export interface ControlDesk {
  /** The answer to one request; undefined: none, the connection is closed. Never rejects. */
  answer(header: Nv): Promise<ControlAnswer | undefined>;
}

/** What to answer. */
export interface ControlAnswer {
  reply: Nv;
  /**
   * Called when the answer is sent. The connection then stays open until the daemon has ended, so
   * that the client sees the end.
   */
  lastWord?: () => void;
}

/** Serves one control socket. */
export class ControlServer {
  /** As written in the configuration. */
  readonly address: string;
  readonly #socket: UnixSocket;
  readonly #desk: ControlDesk;
  readonly #log: Log;
  readonly #clients = new Set<Deno.UnixConn>();
  /** Those that wait for the end of the daemon. */
  readonly #mourners = new Set<Deno.UnixConn>();
  #closed = false;

  private constructor(address: string, socket: UnixSocket, desk: ControlDesk, log: Log) {
    this.address = address;
    this.#socket = socket;
    this.#desk = desk;
    this.#log = log;
  }

  /**
   * Opens the socket; {@link serve} begins to answer.
   *
   * @throws {HastError} Exit code 71, `Unable to listen on control address A: REASON.`
   */
  static async open(address: string, desk: ControlDesk, log: Log): Promise<ControlServer> {
    try {
      const socket = await listenUnix(pathOf(address));
      return new ControlServer(address, socket, desk, log);
    } catch (error) {
      const reason = systemErrorText(error);
      throw new HastError(EX.osErr, `Unable to listen on control address ${address}: ${reason}.`);
    }
  }

  /** Answers clients until {@link close}. */
  async serve(): Promise<void> {
    while (!this.#closed) {
      try {
        this.#admit(await this.#socket.listener.accept());
      } catch (error) {
        if (this.#closed) return;
        this.#log.error(`Unable to accept control connection: ${systemErrorText(error)}.`);
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_PAUSE_MS));
      }
    }
  }

  /** Removes the socket; who is being served is served to the end. */
  retire(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }

  /** Removes the socket and hangs up on the clients, but for those that have asked for the end. */
  close(): void {
    this.retire();
    for (const client of this.#clients) this.#hangUp(client);
  }

  /** The daemon has ended: hangs up on those that have asked for it. */
  release(): void {
    for (const client of this.#mourners) client.close();
    this.#mourners.clear();
  }

  #admit(client: Deno.UnixConn): void {
    this.#clients.add(client);
    if (this.#clients.size > CONTROL_CLIENTS_MAX) {
      this.#log.warning(`Too many control connections, the limit is ${CONTROL_CLIENTS_MAX}.`);
      return this.#hangUp(client);
    }
    void this.#serveClient(client);
  }

  #hangUp(client: Deno.UnixConn): void {
    if (this.#clients.delete(client)) client.close();
  }

  async #serveClient(client: Deno.UnixConn): Promise<void> {
    const stream = new FrameStream(client, CONTROL_REQUEST_BYTES_MAX);
    try {
      const { header } = await stream.read(CONTROL_TIMEOUT_MS);
      const answer = await this.#desk.answer(header);
      if (answer === undefined) return;
      await this.#send(stream, answer.reply);
      if (answer.lastWord === undefined) return;
      if (this.#clients.delete(client)) this.#mourners.add(client);
      answer.lastWord();
    } catch (error) {
      if (!this.#closed) {
        this.#log.error(`Unable to receive control header: ${messageOf(error)}.`);
      }
    } finally {
      this.#hangUp(client);
    }
  }

  async #send(stream: FrameStream, reply: Nv): Promise<void> {
    try {
      await stream.write(encodeFrame(PROTOCOL_VERSION, reply), CONTROL_TIMEOUT_MS);
    } catch (error) {
      if (!this.#closed) {
        this.#log.error(`Unable to send control response: ${messageOf(error)}.`);
      }
    }
  }
}

function pathOf(address: string): string {
  if (addressProblem(address, "unix") === undefined) {
    const parsed = parseAddress(address);
    if (parsed.kind === "unix") return parsed.path;
  }
  throw new HastError(EX.osErr, strerror(ERRNO.EINVAL));
}
