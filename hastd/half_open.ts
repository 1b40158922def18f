/**
 * A primary that has made the first handshake step: connection 1, and the token with which
 * connection 2 has to come.
 *
 * Source: wire.md, Handshake.
 * @module
 */
import { TOKEN_BYTES } from "../protocol/handshake.ts";
import type { PeerConnection } from "./peer_connection.ts";

/** How long the second connection of a primary may take; ours: the original waits for ever. */
export const HALF_OPEN_TIMEOUT_MS = 60_000;

/** Connection 1 and what was agreed on it. */
export class HalfOpen {
  readonly connection: PeerConnection;
  /** The protocol version that was agreed. */
  readonly version: number;
  readonly #token: Uint8Array;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** @param expire Called when connection 2 has not come within `timeoutMs`. */
  constructor(
    connection: PeerConnection,
    { version, token }: { version: number; token: Uint8Array },
    { timeoutMs, expire }: { timeoutMs: number; expire: () => void },
  ) {
    this.connection = connection;
    this.version = version;
    this.#token = token;
    this.#timer = setTimeout(expire, timeoutMs);
  }

  /** Draws a token. */
  static newToken(): Uint8Array<ArrayBuffer> {
    return crypto.getRandomValues(new Uint8Array(TOKEN_BYTES));
  }

  /** Whether `token` is the one that was given, in a time that does not tell how near it is. */
  matches(token: Uint8Array): boolean {
    if (token.length !== this.#token.length) return false;
    let difference = 0;
    this.#token.forEach((byte, index) => difference |= byte ^ (token[index] ?? 0));
    return difference === 0;
  }

  /** Connection 2 has come: the connection stays, and belongs to the caller. */
  complete(): void {
    clearTimeout(this.#timer);
  }

  /** Ends the connection. */
  close(): void {
    clearTimeout(this.#timer);
    this.connection.close();
  }
}
