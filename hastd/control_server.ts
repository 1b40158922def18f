/**
 * The control socket: what hastctl asks is answered here, each client by itself, so that a slow
 * one holds up nobody.
 *
 * Source: control.md, Control socket.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";
import { addressProblem, parseAddress } from "../conf/address.ts";
import {
  CONTROL_ERROR,
  type ControlRequest,
  decodeControlRequest,
  encodeControlError,
  encodeRoleReply,
  encodeStatusReply,
  type RoleReply,
  type StatusReply,
} from "../protocol/control_message.ts";
import { encodeFrame, PROTOCOL_VERSION } from "../protocol/frame.ts";
import type { Nv } from "../protocol/nv.ts";
import { FrameStream } from "./frame_stream.ts";
import type { Resource } from "./resource.ts";
import type { Supervisor } from "./supervisor.ts";
import { listenUnix, type UnixSocket } from "./unix_listener.ts";

/** So many clients are served at once; further ones are closed. */
export const CONTROL_CLIENTS_MAX = 64;
/** Largest request: 2,000 resources with the longest names. */
export const CONTROL_REQUEST_BYTES_MAX = 1024 * 1024;
/** A client has so long to send its request, and again to take the answer. */
export const CONTROL_TIMEOUT_MS = 20_000;
/** Pause before the next accept when the process has run out of descriptors. */
const ACCEPT_PAUSE_MS = 200;

/** Serves one control socket. */
export class ControlServer {
  /** As written in the configuration. */
  readonly address: string;
  readonly #socket: UnixSocket;
  readonly #supervisor: Supervisor;
  readonly #log: Log;
  readonly #clients = new Set<Deno.UnixConn>();
  #closed = false;

  private constructor(address: string, socket: UnixSocket, supervisor: Supervisor, log: Log) {
    this.address = address;
    this.#socket = socket;
    this.#supervisor = supervisor;
    this.#log = log;
  }

  /**
   * Opens the socket; {@link serve} begins to answer.
   *
   * @throws {HastError} Exit code 71, `Unable to listen on control address A: REASON.`
   */
  static async open(address: string, supervisor: Supervisor, log: Log): Promise<ControlServer> {
    try {
      const socket = await listenUnix(pathOf(address));
      return new ControlServer(address, socket, supervisor, log);
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

  /** Removes the socket and hangs up on the clients. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
    for (const client of this.#clients) this.#hangUp(client);
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
      const reply = await this.#answer(header);
      if (reply !== undefined) await this.#send(stream, reply);
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

  async #answer(header: Nv): Promise<Nv | undefined> {
    const request = decodeControlRequest(header);
    switch (request.command) {
      case "refused":
        this.#log.error(request.message);
        return request.error === undefined ? undefined : encodeControlError(request.error);
      case "role":
        return encodeRoleReply({ error: 0, resources: await this.#setRoles(request) });
      case "status":
        return encodeStatusReply({ error: 0, resources: await this.#statuses(request) });
    }
  }

  /** All at once: a resource whose worker is slow to end does not hold up the others. */
  #setRoles(request: ControlRequest & { command: "role" }): Promise<RoleReply[]> {
    return Promise.all(
      this.#named(request).map(async ([name, resource]) => {
        if (resource === undefined) {
          return { resource: name, error: CONTROL_ERROR.noEntry, previousRole: "" };
        }
        const previousRole = await resource.setRole(request.role, "control");
        return { resource: name, error: 0, previousRole };
      }),
    );
  }

  #statuses(request: ControlRequest): Promise<StatusReply[]> {
    return Promise.all(
      this.#named(request).map(async ([name, resource]) => {
        return resource === undefined ? unknownResource(name) : await statusOf(resource);
      }),
    );
  }

  #named({ resources }: ControlRequest): [string, Resource | undefined][] {
    if (resources !== "all") return resources.map((name) => [name, this.#supervisor.find(name)]);
    return this.#supervisor.resources.map((resource) => [resource.name, resource]);
  }
}

function pathOf(address: string): string {
  if (addressProblem(address, "unix") === undefined) {
    const parsed = parseAddress(address);
    if (parsed.kind === "unix") return parsed.path;
  }
  throw new HastError(EX.osErr, strerror(ERRNO.EINVAL));
}

function unknownResource(name: string): StatusReply {
  return {
    resource: name,
    error: CONTROL_ERROR.noEntry,
    provname: "",
    localpath: "",
    remoteaddr: "",
    sourceaddr: undefined,
    replication: "",
    checksum: "",
    compression: "",
    role: "",
    workerpid: 0,
    worker: undefined,
  };
}

async function statusOf(resource: Resource): Promise<StatusReply> {
  const status = await resource.status();
  const { config } = resource;
  return {
    resource: config.name,
    error: 0,
    provname: config.providerName,
    localpath: config.localPath,
    remoteaddr: config.remoteAddress,
    sourceaddr: config.sourceAddress,
    replication: config.replication,
    checksum: config.checksum,
    compression: config.compression,
    role: resource.role,
    workerpid: resource.workerPid,
    worker: status === undefined
      ? undefined
      : { status: status.connected ? "complete" : "degraded", figures: status },
  };
}
