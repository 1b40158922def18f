/**
 * What hastctl asks, answered from the resources and the daemon.
 *
 * Source: control.md, Control socket; docs/control_protocol.md.
 * @module
 */
import type { Log } from "../base/log.ts";
import type { DaemonReply, StatusExtension } from "../protocol/control_extension.ts";
import {
  type AttachReply,
  type ControlReply,
  encodeAttachReply,
  encodeControlError,
  encodeReloadReply,
  encodeRoleReply,
  encodeStatusReply,
  encodeStopReply,
  type ReloadReply,
  type RoleReply,
  type StatusReply,
} from "../protocol/control_reply.ts";
import {
  CONTROL_ERROR,
  type ControlRequest,
  decodeControlRequest,
} from "../protocol/control_request.ts";
import type { Nv } from "../protocol/nv.ts";
import type { ControlAnswer, ControlDesk } from "./control_server.ts";
import type { Resource } from "./resource.ts";
import type { Supervisor } from "./supervisor.ts";
import type { WorkerStatus } from "./worker_channel.ts";

/** The daemon as a whole, for what is not about single resources. */
export interface DaemonHandle {
  describe(): DaemonReply;
  /** Reads the configuration again. `checkedPath`: the file that the client has checked. */
  reload(checkedPath: string | undefined): Promise<ControlReply<ReloadReply>>;
  /** Begins to end the daemon. */
  stop(): void;
}

type ForResources = ControlRequest & { resources: readonly string[] | "all" };

/** Answers control requests. */
export class HastdDesk implements ControlDesk {
  readonly #supervisor: Supervisor;
  readonly #daemon: DaemonHandle;
  readonly #log: Log;

  constructor(supervisor: Supervisor, daemon: DaemonHandle, log: Log) {
    this.#supervisor = supervisor;
    this.#daemon = daemon;
    this.#log = log;
  }

  async answer(header: Nv): Promise<ControlAnswer | undefined> {
    const request = decodeControlRequest(header);
    switch (request.command) {
      case "refused":
        this.#log.error(request.message);
        if (request.error === undefined) return undefined;
        return { reply: encodeControlError(request.error) };
      case "role": {
        const resources = await this.#each(request, unknownRole, (resource) => {
          return setRole(resource, request.role);
        });
        return { reply: encodeRoleReply({ error: 0, resources }) };
      }
      case "status":
        return { reply: await this.#status(request) };
      case "attach": {
        const resources = await this.#each(request, unknownAttach, attach);
        return { reply: encodeAttachReply({ error: 0, resources }) };
      }
      case "reload":
        return { reply: encodeReloadReply(await this.#daemon.reload(request.configPath)) };
      case "stop":
        return {
          reply: encodeStopReply(this.#daemon.describe().pid),
          lastWord: () => this.#daemon.stop(),
        };
    }
  }

  async #status(request: ControlRequest & { command: "status" }): Promise<Nv> {
    const resources = await this.#each(request, unknownStatus, (resource) => {
      return statusOf(resource, request.extended);
    });
    const reply: ControlReply<StatusReply> = { error: 0, resources };
    if (request.extended) reply.daemon = this.#daemon.describe();
    return encodeStatusReply(reply);
  }

  /** All at once: a resource whose worker is slow does not hold up the others. */
  #each<Reply>(
    { resources }: ForResources,
    unknown: (name: string) => Reply,
    handle: (resource: Resource) => Promise<Reply>,
  ): Promise<Reply[]> {
    if (resources === "all") return Promise.all(this.#supervisor.resources.map(handle));
    return Promise.all(resources.map(async (name) => {
      const resource = this.#supervisor.find(name);
      return resource === undefined ? unknown(name) : await handle(resource);
    }));
  }
}

function unknownRole(name: string): RoleReply {
  return { resource: name, error: CONTROL_ERROR.noEntry, previousRole: "" };
}

async function setRole(
  resource: Resource,
  role: "init" | "primary" | "secondary",
): Promise<RoleReply> {
  const previousRole = await resource.setRole(role, "control");
  return { resource: resource.name, error: 0, previousRole };
}

function unknownAttach(name: string): AttachReply {
  return { resource: name, error: CONTROL_ERROR.noEntry, wasOutOfService: false, errno: 0 };
}

async function attach(resource: Resource): Promise<AttachReply> {
  const result = await resource.attach();
  if (result === "unavailable") {
    return { ...unknownAttach(resource.name), error: CONTROL_ERROR.unavailable };
  }
  const { wasOutOfService, errno } = result;
  const error = errno === 0 ? 0 : CONTROL_ERROR.ioError;
  return { resource: resource.name, error, wasOutOfService, errno };
}

function unknownStatus(name: string): StatusReply {
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

async function statusOf(resource: Resource, extended: boolean): Promise<StatusReply> {
  const status = await resource.status();
  const { config } = resource;
  const reply: StatusReply = {
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
  if (extended) reply.extension = extensionOf(resource, status);
  return reply;
}

function extensionOf(resource: Resource, status: WorkerStatus | undefined): StatusExtension {
  const { config } = resource;
  return {
    timeoutSeconds: config.timeoutSeconds,
    execPath: config.execPath,
    metaflush: config.metaflush,
    providerNbd: config.providerNbd,
    syncRateBytesPerSecond: config.syncRateBytesPerSecond,
    secretPaths: config.secretPaths,
    connection: resource.connection(status),
    localComponent: status?.localComponent,
    staleBytes: status?.staleBytes,
    sync: status?.sync,
    resuid: counter(status?.resuid),
    localcnt: counter(status?.localcnt),
    remotecnt: counter(status?.remotecnt),
  };
}

function counter(digits: string | undefined): bigint | undefined {
  return digits === undefined ? undefined : BigInt(digits);
}
