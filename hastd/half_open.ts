/**
 * Primaries that have made the first handshake step: connection 1, and the token with which
 * connection 2 has to come.
 *
 * Without a secret there is one at most, because a new one takes the place of the connection before
 * it. With a secret only the second step shows who is there: until then a newcomer takes nobody's
 * place, and a few may wait side by side.
 *
 * Source: wire.md, Handshake.
 * @module
 */
import { TOKEN_BYTES } from "../protocol/handshake.ts";
import type { Nv } from "../protocol/nv.ts";
import type { SecondaryAuthentication } from "../protocol/secure.ts";
import type { PeerConnection } from "./peer_connection.ts";

/** How long the second connection of a primary may take; ours: the original waits for ever. */
export const HALF_OPEN_TIMEOUT_MS = 60_000;
/** So many may wait for one resource; with another one the oldest has to go. */
export const HALF_OPEN_MAX = 8;

/** What was agreed on connection 1. */
export interface FirstStep {
  /** The protocol version. */
  version: number;
  token: Uint8Array;
  /** Where the nodes share a secret. */
  authentication: SecondaryAuthentication | undefined;
}

/** Connection 1 and what was agreed on it. */
export class HalfOpen {
  readonly connection: PeerConnection;
  readonly version: number;
  readonly authentication: SecondaryAuthentication | undefined;
  readonly #token: Uint8Array;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** @param expire Called when connection 2 has not come within `timeoutMs`. */
  constructor(
    connection: PeerConnection,
    { version, token, authentication }: FirstStep,
    { timeoutMs, expire }: { timeoutMs: number; expire: (halfOpen: HalfOpen) => void },
  ) {
    this.connection = connection;
    this.version = version;
    this.authentication = authentication;
    this.#token = token;
    this.#timer = setTimeout(() => expire(this), timeoutMs);
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

  /**
   * What a second request that has the token says.
   *
   * @throws {AuthenticationError} It does not come from where the first one came from.
   */
  contentOf(secondRequest: Nv): Nv {
    return this.authentication?.open(secondRequest) ?? secondRequest;
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

/** Those of one resource. */
export class HalfOpens {
  #waiting: HalfOpen[] = [];

  /** Lets one more wait. Returns the one that had to go for it, closed. */
  add(halfOpen: HalfOpen): HalfOpen | undefined {
    this.#waiting.push(halfOpen);
    const oldest = this.#waiting.length > HALF_OPEN_MAX ? this.#waiting[0] : undefined;
    if (oldest !== undefined) this.drop(oldest);
    return oldest;
  }

  /** The one that was given this token. */
  find(token: Uint8Array): HalfOpen | undefined {
    return this.#waiting.filter((each) => each.matches(token))[0];
  }

  /** Takes one out, open; false where it does not wait any more. */
  take(halfOpen: HalfOpen): boolean {
    if (!this.#waiting.includes(halfOpen)) return false;
    this.#waiting = this.#waiting.filter((each) => each !== halfOpen);
    halfOpen.complete();
    return true;
  }

  /** Closes one; false where it does not wait any more. */
  drop(halfOpen: HalfOpen): boolean {
    if (!this.take(halfOpen)) return false;
    halfOpen.close();
    return true;
  }

  /** Closes all. Returns which. */
  dropAll(): HalfOpen[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.close();
    return waiting;
  }
}
