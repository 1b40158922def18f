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
  type HandshakeIdentity,
  negotiateVersion,
  TOKEN_BYTES,
} from "../protocol/handshake.ts";
import type { Nv } from "../protocol/nv.ts";
import { AuthenticationError, type SecondaryAuthentication } from "../protocol/secure.ts";
import type { HalfOpen } from "./half_open.ts";
import type { PeerAccess } from "./peer_access.ts";
import type { PeerConnection } from "./peer_connection.ts";
import type { Resource } from "./resource.ts";
import { authenticate, authenticateAnswer, refuse } from "./secondary_authentication.ts";
import type { Supervisor } from "./supervisor.ts";

/** A peer has so long to send its first frame, and again to take the answer. */
export const HANDSHAKE_TIMEOUT_MS = 20_000;

/** What is made of a first frame: it goes on, or is sent away with an answer or without. */
type Verdict =
  | { kind: "first step"; resource: Resource; authentication: SecondaryAuthentication | undefined }
  | { kind: "second step"; resource: Resource; halfOpen: HalfOpen }
  | { kind: "refused"; refusal: Nv | undefined };

const SILENTLY: Verdict = { kind: "refused", refusal: undefined };

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
    const verdict = await this.#judge(connection, header);
    switch (verdict.kind) {
      case "first step":
        return await this.#firstStep(connection, header, verdict);
      case "second step":
        return await this.#secondStep(connection, header, verdict);
      case "refused":
        return await this.#refuse(connection, verdict.refusal);
    }
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
    if (name === undefined) {
      this.#log.error(`No 'resource' field in the header received from ${peer}.`);
      return SILENTLY;
    }
    const token = header.u8Array("token");
    if (token !== undefined && token.length !== TOKEN_BYTES) {
      this.#log.error(
        `Received token of invalid size from ${peer} (expected ${TOKEN_BYTES}, got ${token.length}).`,
      );
      return SILENTLY;
    }
    const resource = this.#supervisor.find(name);
    if (resource === undefined) {
      this.#log.error(`No resource '${name}' as requested by ${peer}.`);
      return refused(encodeRefusal("Resource not configured."));
    }
    if (!await this.#access.allows(resource.config.remoteAddress, connection)) {
      resource.log().error(`Client ${peer} has no access to the resource.`);
      return refused(encodeRefusal("No access to the resource."));
    }
    return token === undefined
      ? judgeFirstStep(resource, header, peer)
      : judgeSecondStep(resource, token, peer);
  }

  async #firstStep(
    connection: PeerConnection,
    header: Nv,
    { resource, authentication }: Verdict & { kind: "first step" },
  ): Promise<void> {
    const { peer } = connection;
    const offered = decodeFirstRequest(header).version;
    const version = negotiateVersion(offered);
    await resource.firstStep(connection, { offered, version, authentication }, async (token) => {
      const log = resource.log();
      const answer = encodeFirstAnswer({ version, token });
      const proven = authentication === undefined ||
        authenticateAnswer(authentication, answer, peer, log);
      return proven && await this.#send(connection, version, answer, "response", log);
    });
  }

  async #secondStep(
    connection: PeerConnection,
    header: Nv,
    { resource, halfOpen }: Verdict & { kind: "second step" },
  ): Promise<void> {
    let identity: HandshakeIdentity;
    try {
      identity = decodeIdentity(halfOpen.contentOf(header));
    } catch (error) {
      const { peer } = connection;
      if (error instanceof AuthenticationError) {
        return await this.#refuse(connection, encodeRefusal(refuse(error, peer, resource.log())));
      }
      resource.log().error(`Unable to receive header from ${peer}: ${messageOf(error)}.`);
      return connection.close();
    }
    if (await resource.secondStep(connection, halfOpen, identity)) return;
    await this.#refuse(connection, refuseToken(resource, connection.peer));
  }

  async #refuse(connection: PeerConnection, refusal: Nv | undefined): Promise<void> {
    if (refusal !== undefined) await this.#send(connection, PROTOCOL_VERSION, refusal, "error");
    connection.close();
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

/** The checks of a first request once the peer has access: only who passes the first is told more. */
function judgeFirstStep(resource: Resource, request: Nv, peer: string): Verdict {
  const log = resource.log();
  const result = authenticate(request, resource.config.secretPaths, peer, log);
  if (result.kind === "refused") return result;
  const { authentication } = result;
  if (resource.role === "secondary") return { kind: "first step", resource, authentication };
  const refusal = refuseRole(resource, peer);
  authentication?.addToRefusal(refusal);
  return refused(refusal);
}

/** Likewise of a second request, whose token shows that there was a first one. */
function judgeSecondStep(resource: Resource, token: Uint8Array, peer: string): Verdict {
  const { role, config } = resource;
  if (role !== "secondary" && config.secretPaths.length === 0) {
    return refused(refuseRole(resource, peer));
  }
  const halfOpen = resource.halfOpen(token);
  if (halfOpen === undefined) return refused(refuseToken(resource, peer));
  return { kind: "second step", resource, halfOpen };
}

function refused(refusal: Nv): Verdict {
  return { kind: "refused", refusal };
}

function refuseRole(resource: Resource, peer: string): Nv {
  const { role } = resource;
  resource.log().warning(
    `We act as ${role} for the resource and not as secondary as requested by ${peer}.`,
  );
  const message = `Remote node acts as ${role} for the resource and not as secondary.`;
  return encodeRefusal(message, role === "primary");
}

function refuseToken(resource: Resource, peer: string): Nv {
  resource.log().error(`Token received from ${peer} doesn't match.`);
  return encodeRefusal("Token doesn't match.");
}
