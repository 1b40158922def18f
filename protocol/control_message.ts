/**
 * Control messages: what hastctl asks of hastd, and the answers. One request per connection, each
 * message a frame of version 2 without data.
 *
 * Source: control.md, "Control socket"; hastctl(8).
 * @module
 */
import { ProtocolError } from "../base/errors.ts";
import { Nv } from "./nv.ts";

/** `cmd` of a request. */
export const CONTROL_COMMAND = { setRole: 1, status: 2 } as const;
/** `role` of a request. */
export const CONTROL_ROLE = { init: 1, primary: 2, secondary: 3 } as const;
export type ControlRole = keyof typeof CONTROL_ROLE;

/** Error numbers of answers, for the whole request or for one resource. */
export const CONTROL_ERROR = { noEntry: 1, invalid: 2, noMemory: 3, unimplemented: 4 } as const;

/** Most resources in one request or answer: what fits in a block. */
export const CONTROL_RESOURCES_MAX = 2000;
/** Largest answer that hastctl reads: 2,000 resources with the longest paths and addresses. */
export const CONTROL_REPLY_BYTES_MAX = 8 * 1024 * 1024;

/** As `resource0` alone it means every resource of the configuration. */
const ALL = "all";

/** A request; `resources` has at least one name. */
export type ControlRequest =
  | { command: "role"; role: ControlRole; resources: readonly string[] | "all" }
  | { command: "status"; resources: readonly string[] | "all" };

/** A request that cannot be served. */
export interface RefusedRequest {
  command: "refused";
  /** What to answer, a {@link CONTROL_ERROR}; undefined: close without an answer. */
  error: number | undefined;
  /** For the log. */
  message: string;
}

/** Encodes a request as hastctl does. */
export function encodeControlRequest(request: ControlRequest): Nv {
  const nv = new Nv();
  if (request.command === "role") {
    nv.addU8("cmd", CONTROL_COMMAND.setRole).addU8("role", CONTROL_ROLE[request.role]);
  } else {
    nv.addU8("cmd", CONTROL_COMMAND.status);
  }
  const names = request.resources === ALL ? [ALL] : request.resources;
  names.forEach((name, index) => nv.addString(`resource${index}`, name));
  return nv;
}

/**
 * Decodes a request from anybody who may open the socket.
 *
 * Names are taken up to the first number that is missing. `all` counts only as the first name; then
 * the others are not looked at.
 */
export function decodeControlRequest(nv: Nv): ControlRequest | RefusedRequest {
  const command = nv.u8("cmd") ?? 0;
  if (command === 0) return refused(undefined, "Control header is missing 'cmd' field.");
  const resources = requestedResources(nv);
  if (resources.length === 0) {
    return refused(CONTROL_ERROR.invalid, "Control header is missing 'resource0' field.");
  }
  if (resources.length > CONTROL_RESOURCES_MAX) {
    const message = `Control header has more than ${CONTROL_RESOURCES_MAX} resources.`;
    return refused(CONTROL_ERROR.invalid, message);
  }
  if (command === CONTROL_COMMAND.status) return { command: "status", resources };
  if (command !== CONTROL_COMMAND.setRole) {
    return refused(CONTROL_ERROR.unimplemented, `Invalid command received (${command}).`);
  }
  const role = roleOf(nv.u8("role") ?? 0);
  if (role !== undefined) return { command: "role", role, resources };
  return refused(CONTROL_ERROR.invalid, `Invalid role received (${nv.u8("role") ?? 0}).`);
}

function refused(error: number | undefined, message: string): RefusedRequest {
  return { command: "refused", error, message };
}

function requestedResources(nv: Nv): string[] | "all" {
  const names: string[] = [];
  while (names.length <= CONTROL_RESOURCES_MAX) {
    const name = nv.string(`resource${names.length}`);
    if (name === undefined) break;
    if (name === ALL && names.length === 0) return ALL;
    names.push(name);
  }
  return names;
}

function roleOf(code: number): ControlRole | undefined {
  switch (code) {
    case CONTROL_ROLE.init:
      return "init";
    case CONTROL_ROLE.primary:
      return "primary";
    case CONTROL_ROLE.secondary:
      return "secondary";
    default:
      return undefined;
  }
}

/** Figures of a running worker. */
export interface WorkerFigures {
  dirtyBytes: number;
  extentSizeBytes: number;
  keepdirtyCount: number;
  reads: number;
  writes: number;
  deletes: number;
  flushes: number;
  activemapUpdates: number;
  readErrors: number;
  writeErrors: number;
  deleteErrors: number;
  flushErrors: number;
  idleQueue: number;
  localQueue: number;
  sendQueue: number;
  recvQueue: number;
  doneQueue: number;
}

/** What `list` shows where no worker runs. */
export const NO_FIGURES: Readonly<WorkerFigures> = {
  dirtyBytes: 0,
  extentSizeBytes: 0,
  keepdirtyCount: 0,
  reads: 0,
  writes: 0,
  deletes: 0,
  flushes: 0,
  activemapUpdates: 0,
  readErrors: 0,
  writeErrors: 0,
  deleteErrors: 0,
  flushErrors: 0,
  idleQueue: 0,
  localQueue: 0,
  sendQueue: 0,
  recvQueue: 0,
  doneQueue: 0,
};

/** The uint64 figures after `keepdirty`, in the order of the wire. */
const COUNTERS: readonly [field: string, key: keyof WorkerFigures][] = [
  ["stat_read", "reads"],
  ["stat_write", "writes"],
  ["stat_delete", "deletes"],
  ["stat_flush", "flushes"],
  ["stat_activemap_update", "activemapUpdates"],
  ["stat_read_error", "readErrors"],
  ["stat_write_error", "writeErrors"],
  ["stat_delete_error", "deleteErrors"],
  ["stat_flush_error", "flushErrors"],
  ["idle_queue_size", "idleQueue"],
  ["local_queue_size", "localQueue"],
  ["send_queue_size", "sendQueue"],
  ["recv_queue_size", "recvQueue"],
  ["done_queue_size", "doneQueue"],
];

/** One resource in the answer to set role. */
export interface RoleReply {
  resource: string;
  /** 0, or a {@link CONTROL_ERROR}: then nothing else is known. */
  error: number;
  /** The role before; a string of the peer, empty on an error. */
  previousRole: string;
}

/** One resource in the answer to status. Strings are the peer's, empty where it sent none. */
export interface StatusReply {
  resource: string;
  /** 0, or a {@link CONTROL_ERROR}: then nothing else is known. */
  error: number;
  provname: string;
  localpath: string;
  remoteaddr: string;
  sourceaddr: string | undefined;
  replication: string;
  checksum: string;
  compression: string;
  role: string;
  /** 0 where no worker runs. */
  workerpid: number;
  /** Undefined where no worker runs. */
  worker: { status: string; figures: WorkerFigures } | undefined;
}

/** An answer: an error for the whole request, or a list of resources. */
export interface ControlReply<Resource> {
  /** 0, or a {@link CONTROL_ERROR}: then `resources` is empty. */
  error: number;
  resources: readonly Resource[];
}

/** An answer that refuses a whole request. */
export function encodeControlError(error: number): Nv {
  return new Nv().addI16("error", error);
}

/** Encodes the answer to set role. */
export function encodeRoleReply(reply: ControlReply<RoleReply>): Nv {
  return encodeReply(reply, (nv, index, resource) => {
    nv.addString(`role${index}`, resource.previousRole);
  });
}

/** Encodes the answer to status. */
export function encodeStatusReply(reply: ControlReply<StatusReply>): Nv {
  return encodeReply(reply, addStatus);
}

/** Decodes the answer to set role; what this program does not know is ignored. */
export function decodeRoleReply(nv: Nv): ControlReply<RoleReply> {
  return decodeReply(nv, (index, resource, error) => {
    return { resource, error, previousRole: nv.string(`role${index}`) ?? "" };
  });
}

/**
 * Decodes the answer to status; what this program does not know is ignored, what the daemon does
 * not send is empty or 0.
 *
 * @throws {ProtocolError} A figure is beyond 2^53 - 1.
 */
export function decodeStatusReply(nv: Nv): ControlReply<StatusReply> {
  return decodeReply(nv, (index, resource, error) => {
    const text = (field: string) => nv.string(`${field}${index}`) ?? "";
    const status = nv.string(`status${index}`);
    return {
      resource,
      error,
      provname: text("provname"),
      localpath: text("localpath"),
      remoteaddr: text("remoteaddr"),
      sourceaddr: nv.string(`sourceaddr${index}`),
      replication: text("replication"),
      checksum: text("checksum"),
      compression: text("compression"),
      role: text("role"),
      workerpid: nv.i32(`workerpid${index}`) ?? 0,
      worker: status === undefined ? undefined : { status, figures: decodeFigures(nv, index) },
    };
  });
}

function encodeReply<Resource extends { resource: string; error: number }>(
  reply: ControlReply<Resource>,
  add: (nv: Nv, index: number, resource: Resource) => void,
): Nv {
  if (reply.error !== 0) return encodeControlError(reply.error);
  if (reply.resources.length > CONTROL_RESOURCES_MAX) {
    return encodeControlError(CONTROL_ERROR.noMemory);
  }
  // The original cannot receive a header without entries.
  if (reply.resources.length === 0) return encodeControlError(0);
  const nv = new Nv();
  reply.resources.forEach((resource, index) => {
    nv.addString(`resource${index}`, resource.resource);
    if (resource.error !== 0) nv.addI16(`error${index}`, resource.error);
    else add(nv, index, resource);
  });
  return nv;
}

function addStatus(nv: Nv, index: number, reply: StatusReply): void {
  nv.addString(`provname${index}`, reply.provname);
  nv.addString(`localpath${index}`, reply.localpath);
  nv.addString(`remoteaddr${index}`, reply.remoteaddr);
  if (reply.sourceaddr !== undefined) nv.addString(`sourceaddr${index}`, reply.sourceaddr);
  nv.addString(`replication${index}`, reply.replication);
  nv.addString(`checksum${index}`, reply.checksum);
  nv.addString(`compression${index}`, reply.compression);
  nv.addString(`role${index}`, reply.role);
  nv.addI32(`workerpid${index}`, reply.workerpid);
  if (reply.worker === undefined) return;
  const { status, figures } = reply.worker;
  nv.addString(`status${index}`, status);
  nv.addU64(`dirty${index}`, figures.dirtyBytes);
  nv.addU32(`extentsize${index}`, figures.extentSizeBytes);
  nv.addU32(`keepdirty${index}`, figures.keepdirtyCount);
  for (const [field, key] of COUNTERS) nv.addU64(`${field}${index}`, figures[key]);
}

function decodeFigures(nv: Nv, index: number): WorkerFigures {
  const figures: WorkerFigures = { ...NO_FIGURES };
  figures.dirtyBytes = nv.safeU64(`dirty${index}`) ?? 0;
  figures.extentSizeBytes = nv.u32(`extentsize${index}`) ?? 0;
  figures.keepdirtyCount = nv.u32(`keepdirty${index}`) ?? 0;
  for (const [field, key] of COUNTERS) figures[key] = nv.safeU64(`${field}${index}`) ?? 0;
  return figures;
}

function decodeReply<Resource>(
  nv: Nv,
  decode: (index: number, resource: string, error: number) => Resource,
): ControlReply<Resource> {
  const error = nv.i16("error") ?? 0;
  if (error !== 0) return { error, resources: [] };
  const resources: Resource[] = [];
  for (let index = 0;; index++) {
    const resource = nv.string(`resource${index}`);
    if (resource === undefined) return { error, resources };
    if (index >= CONTROL_RESOURCES_MAX) {
      throw new ProtocolError(`Cannot read more than ${CONTROL_RESOURCES_MAX} resources`);
    }
    resources.push(decode(index, resource, nv.i16(`error${index}`) ?? 0));
  }
}
