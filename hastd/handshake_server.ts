/**
 * The secondary's part of the handshake that is the main process's: who may connect, the first
 * step with its token, the second up to the start of a worker. Refusals, their order and their
 * words are the original's.
 *
 * Source: wire.md, Handshake; protocol_errors.json has each refusal with its log lines.
 * @module
 */
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { encodeFrame, PROTOCOL_VERSION } from "../protocol/frame.ts";
import {
  decodeFirstRequest,
  decodeIdentity,
  encodeFirstAnswer,
  encodeRefusal,
  negotiateVersion,
  TOKEN_BYTES,
} from "../protocol/handshake.ts";
import type { Nv } from "../protocol/nv.ts";
import type { PeerAccess } from "./peer_access.ts";
import type { PeerConnection } from "./peer_connection.ts";
import type { Resource } from "./resource.ts";
import type { Supervisor } from "./supervisor.ts";

/** A peer has so long to send its first frame, and again to take the answer. */
export const HANDSHAKE_TIMEOUT_MS = 20_000;

/** Why a peer is sent away; the answer that it gets, or none. */
interface Verdict {
  resource: Resource | undefined;
  refusal: Nv | undefined;
}

/** Serves connections from their acceptance until they are refused or handed to a resource. */
export class HandshakeServer {
  readonly #supervisor: Supervisor;
  readonly #access: PeerAccess;
  readonly #log: Log;
  readonly #timeoutMs: number;

  constructor(
    supervisor: Supervisor,
    access: PeerAccess,
    log: Log,
    timeoutMs: number = HANDSHAKE_TIMEOUT_MS,
  ) {
    this.#supervisor = supervisor;
    this.#access = access;
    this.#log = log;
    this.#timeoutMs = timeoutMs;
  }

  /** Takes a new connection as far as it goes; never throws. The connection ends up elsewhere. */
  async serve(connection: PeerConnection): Promise<void> {
    if (!await this.#isKnown(connection)) {
      this.#log.error(`Client ${connection.peer} isn't known.`);
      return connection.close();
    }
    let header: Nv;
    try {
      header = (await connection.stream.read(this.#timeoutMs)).header;
    } catch (error) {
      const reason = messageOf(error);
      this.#log.error(`Unable to receive header from ${connection.peer}: ${reason}.`);
      return connection.close();
    }
    const { resource, refusal } = await this.#judge(connection, header);
    if (resource !== undefined) return await this.#accept(connection, resource, header);
    if (refusal !== undefined) await this.#send(connection, PROTOCOL_VERSION, refusal, "error");
    connection.close();
  }

  /** Whether this address is the remote one of any resource: of others nothing is read. */
  async #isKnown(connection: PeerConnection): Promise<boolean> {
    const answers = this.#supervisor.resources.map((resource) =>
      this.#access.allows(resource.config.remoteAddress, connection)
    );
    return (await Promise.all(answers)).includes(true);
  }

  async #judge(connection: PeerConnection, header: Nv): Promise<Verdict> {
    const { peer } = connection;
    const name = header.string("resource");
    const silent = { resource: undefined, refusal: undefined };
    if (name === undefined) {
      this.#log.error(`No 'resource' field in the header received from ${peer}.`);
      return silent;
    }
    const token = header.u8Array("token");
    if (token !== undefined && token.length !== TOKEN_BYTES) {
      this.#log.error(
        `Received token of invalid size from ${peer} (expected ${TOKEN_BYTES}, got ${token.length}).`,
      );
      return silent;
    }
    const resource = this.#supervisor.find(name);
    if (resource === undefined) {
      this.#log.error(`No resource '${name}' as requested by ${peer}.`);
      return { ...silent, refusal: encodeRefusal("Resource not configured.") };
    }
    const allowed = await this.#access.allows(resource.config.remoteAddress, connection);
    const refusal = refusalBy(resource, allowed, peer, token);
    return refusal === undefined ? { resource, refusal } : { ...silent, refusal };
  }

  async #accept(connection: PeerConnection, resource: Resource, header: Nv): Promise<void> {
    const token = header.u8Array("token");
    if (token === undefined) return await this.#firstStep(connection, resource, header);
    let identity;
    try {
      identity = decodeIdentity(header);
    } catch (error) {
      const reason = messageOf(error);
      resource.log().error(`Unable to receive header from ${connection.peer}: ${reason}.`);
      return connection.close();
    }
    if (await resource.secondStep(connection, token, identity)) return;
    const refusal = refuseToken(resource, connection.peer);
    await this.#send(connection, PROTOCOL_VERSION, refusal, "error");
    connection.close();
  }

  async #firstStep(connection: PeerConnection, resource: Resource, header: Nv): Promise<void> {
    const offered = decodeFirstRequest(header).version;
    const version = negotiateVersion(offered);
    await resource.firstStep(connection, { offered, version }, async (token) => {
      const answer = encodeFirstAnswer({ version, token });
      return await this.#send(connection, version, answer, "response", resource.log());
    });
  }

  async #send(
    connection: PeerConnection,
    version: number,
    header: Nv,
    what: "response" | "error",
    log = this.#log,
  ): Promise<boolean> {
    try {
      await connection.stream.write(encodeFrame(version, header), this.#timeoutMs);
      return true;
    } catch (error) {
      log.error(`Unable to send ${what} to ${connection.peer}: ${messageOf(error)}.`);
      return false;
    }
  }
}

/** The checks once the resource is known; undefined where nothing speaks against the peer. */
function refusalBy(
  resource: Resource,
  allowed: boolean,
  peer: string,
  token: Uint8Array | undefined,
): Nv | undefined {
  const { role } = resource;
  if (!allowed) {
    resource.log().error(`Client ${peer} has no access to the resource.`);
    return encodeRefusal("No access to the resource.");
  }
  if (role !== "secondary") {
    resource.log().warning(
      `We act as ${role} for the resource and not as secondary as requested by ${peer}.`,
    );
    const message = `Remote node acts as ${role} for the resource and not as secondary.`;
    return encodeRefusal(message, role === "primary");
  }
  if (token !== undefined && !resource.tokenMatches(token)) return refuseToken(resource, peer);
  return undefined;
}

function refuseToken(resource: Resource, peer: string): Nv {
  resource.log().error(`Token received from ${peer} doesn't match.`);
  return encodeRefusal("Token doesn't match.");
}
