/**
 * The primary's way to a secondary: dials twice, goes through the handshake, and hands the
 * established pair of connections over. Dials again whenever there is none.
 *
 * Source: wire.md (handshake, refusals, time-outs); protocol_misc.json for the log lines.
 * @module
 */
import { HastError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { SystemError, systemErrorText } from "../base/system_error.ts";
import { strerror } from "../base/errno.ts";
import { parseAddress } from "../conf/address.ts";
import type { ResourceConfig } from "../conf/config.ts";
import type { PrimaryHello } from "../core/sync_decision.ts";
import { dial, type SocketAddress } from "../ffi/dial.ts";
import { setKeepAlive, setNoDelay } from "../ffi/socket.ts";
import { encodeFrame, type Frame, PROTOCOL_VERSION } from "../protocol/frame.ts";
import type { Nv } from "../protocol/nv.ts";
import {
  AUTHENTICATION_REQUIRED,
  AuthenticationError,
  type PrimaryAuthentication,
  type SecretKey,
  type Session,
} from "../protocol/secure.ts";
import { RecordOpener } from "../protocol/secure_record.ts";
import {
  decodeFirstAnswer,
  decodeSecondAnswer,
  encodeFirstRequest,
  encodeIdentity,
  encodeSecondRequest,
  type FirstAnswer,
  type MapLimits,
  type Refusal,
  REQUEST_BYTES_DEFAULT,
  type SecondAnswer,
} from "../protocol/handshake.ts";
import { systemResolver } from "./peer_access.ts";
import { beginAuthentication, checkAuthentication } from "./primary_authentication.ts";
import { RawStream } from "./raw_stream.ts";

/** A primary without a secondary dials again after so long. */
export const RETRY_MS = 10_000;
/** After a connection was lost, the first time: a short trouble of the network may be over. */
export const FIRST_RETRY_MS = 1_000;
/** While the other node is primary too and is expected to change. */
const WAIT_RETRY_MS = 1_000;
/** How a connection looks that nobody has told the version of yet. */
const FIRST_VERSION = 1;
/** A header of the answer, beyond the map. */
const ANSWER_SPARE_BYTES = 4096;
/** When TCP finds out that a host has gone while nothing is sent: after half a minute. */
const KEEP_ALIVE = { idleSeconds: 15, intervalSeconds: 5, probeCount: 3 };

/** What both nodes must agree in. */
export interface ConnectorGeometry {
  readonly datasizeBytes: number;
  readonly extentsizeBytes: number;
  readonly mapLimits: MapLimits;
}

/** A pair of connections that has passed the handshake. */
export interface Established {
  /** Connection 1: requests go out. */
  readonly requestsFd: number;
  /** Connection 2: replies come in. */
  readonly repliesFd: number;
  readonly version: number;
  /** What we said, and what the secondary decided from it. */
  readonly hello: PrimaryHello;
  readonly answer: SecondAnswer;
  readonly remoteAddress: string;
  /** Where the nodes share a secret. */
  readonly session: Session | undefined;
  /** Records of connection 1 that the answer came in. */
  readonly answerRecords: number;
}

export interface ConnectorEnv {
  /** As it is now; a reload changes it. */
  readonly config: () => ResourceConfig;
  readonly geometry: ConnectorGeometry;
  readonly log: Log;
  /** The counters to say, once they are durable; undefined if they cannot be made so. */
  readonly hello: () => Promise<PrimaryHello | undefined>;
  /** Takes the descriptors over. */
  readonly established: (established: Established) => void;
  /**
   * Keys of the secrets at these paths; undefined where there are none. Throws a HastError where one
   * cannot be used.
   */
  readonly secrets: (paths: readonly string[]) => SecretKey[] | undefined;
  /** A handshake was turned down, by either node; the message is logged already. */
  readonly refused: (message: string) => void;
  /** An attempt has failed otherwise; as `refused`. */
  readonly failed?: (message: string) => void;
  /** Tests dial more often. */
  readonly retryMs?: number;
}

/**
 * When to dial after a link has ended: now, if it was given up for a reason that has passed; soon,
 * if it was lost; later, if the nodes do not agree.
 */
export type Redial = "now" | "soon" | "later";

/** What came of one attempt. */
type Outcome = "connected" | "failed" | "wait";

/** See the module. */
export class Connector {
  readonly #env: ConnectorEnv;
  /** A link is up, or being taken into use. */
  #linked = false;
  #closed = false;
  #version = FIRST_VERSION;
  #waitUntilMs = 0;
  #saidWaiting = false;
  /** Connections of the attempt under way, until they are handed over. */
  readonly #streams: RawStream[] = [];
  readonly #attempted = Promise.withResolvers<void>();
  #wake: () => void = () => {};
  /** Something asked for an attempt while one was under way. */
  #woken = false;

  constructor(env: ConnectorEnv) {
    this.#env = env;
  }

  /** Settles when the first attempt has ended, well or not; at once where there is nobody to dial. */
  get attempted(): Promise<void> {
    return this.#attempted.promise;
  }

  /** Dials until {@link close}. */
  async run(): Promise<void> {
    this.#waitUntilMs = performance.now() + this.#timeoutMs;
    while (!this.#closed) {
      const { remoteAddress } = this.#env.config();
      const wanted = !this.#linked && remoteAddress !== "none";
      const outcome = wanted ? await this.#attempt(remoteAddress) : "connected";
      this.#attempted.resolve();
      await this.#pause(outcome);
    }
  }

  /** The link is gone. */
  lost(redial: Redial): void {
    this.#linked = false;
    if (redial === "now") return this.#dialNow();
    const { retryMs } = this.#env;
    const delayMs = retryMs ?? (redial === "soon" ? FIRST_RETRY_MS : RETRY_MS);
    setTimeout(() => this.#dialNow(), delayMs);
  }

  /** The configuration has changed: whatever is waited for may be another now. */
  reconfigured(): void {
    this.#dialNow();
  }

  /** Ends {@link run} soon. */
  close(): void {
    this.#closed = true;
    for (const stream of this.#streams) stream.interrupt();
    this.#dialNow();
  }

  get #timeoutMs(): number {
    return this.#env.config().timeoutSeconds * 1000;
  }

  #dialNow(): void {
    this.#woken = true;
    this.#wake();
  }

  async #pause(outcome: Outcome): Promise<void> {
    const retryMs = this.#env.retryMs ?? RETRY_MS;
    const pauseMs = outcome === "wait" ? Math.min(WAIT_RETRY_MS, retryMs) : retryMs;
    if (!this.#woken) {
      await new Promise<void>((resolve) => {
        const timer = outcome === "connected" ? undefined : setTimeout(resolve, pauseMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#woken = false;
  }

  async #attempt(remoteAddress: string): Promise<Outcome> {
    const streams = this.#streams;
    try {
      return await this.#handshake(remoteAddress, streams);
    } catch (error) {
      if (!(error instanceof HastError)) throw error;
      if (this.#closed) return "failed";
      this.#env.log.warning(error.message);
      if (error instanceof AuthenticationError) this.#env.refused(error.message);
      else this.#env.failed?.(error.message);
      return "failed";
    } finally {
      for (const stream of streams.splice(0)) stream.close();
    }
  }

  async #handshake(remoteAddress: string, streams: RawStream[]): Promise<Outcome> {
    const { secretPaths } = this.#env.config();
    const authentication = beginAuthentication(this.#env.secrets(secretPaths));
    const requests = await this.#dial(remoteAddress);
    streams.push(requests);
    const first = await this.#firstStep(requests, remoteAddress, authentication);
    if (first.kind === "refused") return this.#refused(first);
    const hello = await this.#env.hello();
    if (hello === undefined || this.#closed) return "failed";
    const replies = await this.#dial(remoteAddress);
    streams.push(replies);
    const header = this.#secondRequest(first.token, hello, authentication);
    await this.#send(replies, remoteAddress, { version: this.#version, header });
    const session = authentication?.session();
    const opener = session && new RecordOpener(session.cipher, session.requests.toPrimary);
    if (opener !== undefined) requests.expectRecords(opener);
    const answer = await this.#secondAnswer(requests, remoteAddress);
    if (answer.kind === "refused") return this.#refused(answer);
    if (!this.#agrees(answer) || this.#closed) return "failed";
    // A reload in the meantime has changed what the other node has to prove.
    if (this.#env.config().secretPaths.join(" ") !== secretPaths.join(" ")) return "failed";
    streams.length = 0;
    this.#linked = true;
    this.#env.established({
      requestsFd: requests.fd,
      repliesFd: replies.fd,
      version: this.#version,
      hello,
      answer,
      remoteAddress,
      session,
      answerRecords: opener?.recordCount ?? 0,
    });
    return "connected";
  }

  /** What we have to say on connection 2, sealed where the nodes share a secret. */
  #secondRequest(
    token: FirstAnswer["token"],
    hello: PrimaryHello,
    authentication: PrimaryAuthentication | undefined,
  ): Nv {
    const request = { resource: this.#env.config().name, token };
    const identity = { ...hello, requestBytesMax: REQUEST_BYTES_DEFAULT };
    if (authentication === undefined) return encodeSecondRequest(request, identity);
    const header = encodeSecondRequest(request);
    authentication.seal(header, encodeIdentity(identity));
    return header;
  }

  async #firstStep(
    stream: RawStream,
    remote: string,
    authentication: PrimaryAuthentication | undefined,
  ): Promise<FirstAnswer | Refusal> {
    const request = encodeFirstRequest({
      resource: this.#env.config().name,
      version: PROTOCOL_VERSION,
      requestBytesMax: REQUEST_BYTES_DEFAULT,
    });
    authentication?.addTo(request);
    await this.#send(stream, remote, { version: this.#version, header: request });
    const { header } = await this.#receive(stream, remote);
    if (authentication !== undefined) checkAuthentication(authentication, header, remote);
    const hasToken = header.has("token") || header.has("errmsg");
    const version = header.u8("version") ?? FIRST_VERSION;
    if (version > PROTOCOL_VERSION) throw failure(`Invalid version received (${version}).`);
    if (!header.has("errmsg")) {
      this.#version = version;
      this.#env.log.debug(1, `Negotiated protocol version ${version}.`);
    }
    if (!hasToken) throw failure(`Handshake header from ${remote} has no 'token' field.`);
    const answer = this.#decoded(remote, () => decodeFirstAnswer(header));
    if (answer.kind !== "refused" || answer.message !== AUTHENTICATION_REQUIRED) return answer;
    const message = `Authentication required: ${remote} asks for a secret, we have none.`;
    return { ...answer, message };
  }

  async #secondAnswer(stream: RawStream, remote: string): Promise<SecondAnswer | Refusal> {
    const { header, data } = await this.#receive(stream, remote);
    const { mapLimits } = this.#env.geometry;
    return this.#decoded(remote, () => decodeSecondAnswer(header, data, mapLimits));
  }

  #decoded<T>(remote: string, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (!(error instanceof HastError)) throw error;
      throw failure(`Invalid handshake header from ${remote}: ${sentence(error.message)}`);
    }
  }

  #refused(refusal: Refusal): Outcome {
    this.#env.log.warning(refusal.message);
    this.#env.refused(refusal.message);
    if (!refusal.wait || performance.now() >= this.#waitUntilMs) return "failed";
    const { timeoutSeconds } = this.#env.config();
    if (!this.#saidWaiting) {
      this.#env.log.warning(`Waiting for remote node to become secondary for ${timeoutSeconds}s.`);
    }
    this.#saidWaiting = true;
    return "wait";
  }

  #agrees(answer: SecondAnswer): boolean {
    const { datasizeBytes, extentsizeBytes } = this.#env.geometry;
    const differs = (what: string, local: number, remote: number) =>
      this.#env.log.warning(`${what} differs between nodes (local=${local}, remote=${remote}).`);
    if (answer.datasizeBytes !== datasizeBytes) {
      differs("Data size", datasizeBytes, answer.datasizeBytes);
      return false;
    }
    if (answer.extentsizeBytes !== extentsizeBytes) {
      differs("Extent size", extentsizeBytes, answer.extentsizeBytes);
      return false;
    }
    return true;
  }

  async #dial(remote: string): Promise<RawStream> {
    const { sourceAddress } = this.#env.config();
    const timeoutMs = this.#timeoutMs;
    try {
      const target = await resolve(remote);
      const source = sourceAddress === undefined ? undefined : await resolve(sourceAddress, 0);
      const fd = await dial(target, { source, timeoutMs });
      setNoDelay(fd, true);
      setKeepAlive(fd, KEEP_ALIVE);
      return new RawStream(fd, this.#env.geometry.mapLimits.bytesMax + ANSWER_SPARE_BYTES);
    } catch (error) {
      const reason = error instanceof SystemError ? strerror(error.errno) : systemErrorText(error);
      throw failure(`Unable to connect to ${remote}: ${sentence(reason)}`);
    }
  }

  async #send(
    stream: RawStream,
    remote: string,
    { version, header }: Pick<Frame, "version" | "header">,
  ): Promise<void> {
    try {
      await stream.write(encodeFrame(version, header), this.#timeoutMs);
    } catch (error) {
      throw failure(`Unable to send handshake header to ${remote}: ${sentence(messageOf(error))}`);
    }
  }

  async #receive(stream: RawStream, remote: string): Promise<Frame> {
    try {
      return await stream.read(this.#timeoutMs);
    } catch (error) {
      const reason = sentence(messageOf(error));
      throw failure(`Unable to receive handshake header from ${remote}: ${reason}`);
    }
  }
}

/** An attempt that failed; the message is logged, and the next attempt follows. */
function failure(message: string): HastError {
  return new HastError(0, message);
}

function sentence(text: string): string {
  return text.endsWith(".") ? text : `${text}.`;
}

/** The address behind `text`; names are looked up now. */
async function resolve(text: string, portDefault?: number): Promise<SocketAddress> {
  const address = parseAddress(text, portDefault);
  if (address.kind === "unix") return address;
  const { host, family, port } = address;
  if (family !== undefined && /^[0-9.]+$|:/.test(host)) return { kind: "tcp", ip: host, port };
  const [ip] = await systemResolver(host, family);
  if (ip === undefined) throw new HastError(0, `Cannot resolve ${host}: no address`);
  return { kind: "tcp", ip, port };
}
