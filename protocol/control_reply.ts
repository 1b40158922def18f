/**
 * Control replies: what hastd answers to the requests of protocol/control_request.ts.
 *
 * Source: control.md, "Control socket"; hastctl(8); docs/control_protocol.md.
 * @module
 */
import { ProtocolError } from "../base/errors.ts";
import {
  addDaemon,
  addStatusExtension,
  type DaemonReply,
  readDaemon,
  readStatusExtension,
  type StatusExtension,
} from "./control_extension.ts";
import { CONTROL_ERROR, CONTROL_RESOURCES_MAX } from "./control_request.ts";
import { Nv } from "./nv.ts";

/** Largest answer that hastctl reads: 2,000 resources with the longest paths and addresses. */
export const CONTROL_REPLY_BYTES_MAX = 16 * 1024 * 1024;

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
  /** Only where it was asked for, of a daemon that has it. */
  extension?: StatusExtension;
}

/** One resource in the answer to reload. */
export interface ReloadReply {
  resource: string;
  error: number;
  /** What was done with it, a `ReloadAction` of conf/reload.ts. */
  action: string;
}

/** One resource in the answer to attach. */
export interface AttachReply {
  resource: string;
  /** 0, or a {@link CONTROL_ERROR}. */
  error: number;
  wasOutOfService: boolean;
  /** With `ioError`: FreeBSD's number of what went wrong, else 0. */
  errno: number;
}

/** An answer: an error for the whole request, or a list of resources. */
export interface ControlReply<Resource> {
  /** 0, or a {@link CONTROL_ERROR}: then `resources` is empty. */
  error: number;
  resources: readonly Resource[];
  /** Why the whole request failed, where the daemon says so. */
  message?: string;
  /** What the daemon says of itself, where it was asked. */
  daemon?: DaemonReply;
}

/** An answer that refuses a whole request; `message` is only for those of our own commands. */
export function encodeControlError(error: number, message?: string): Nv {
  const nv = new Nv().addI16("error", error);
  return message === undefined ? nv : nv.addString("message", message.replaceAll("\0", "?"));
}

/** The answer to stop: its connection ends when the daemon does. */
export function encodeStopReply(pid: number): Nv {
  return encodeControlError(0).addI32("daemonpid", pid);
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

/** Encodes the answer to reload. */
export function encodeReloadReply(reply: ControlReply<ReloadReply>): Nv {
  return encodeReply(reply, (nv, index, resource) => {
    nv.addString(`action${index}`, resource.action);
  });
}

/** Encodes the answer to attach. */
export function encodeAttachReply(reply: ControlReply<AttachReply>): Nv {
  return encodeReply(reply, (nv, index, { wasOutOfService }) => {
    nv.addU8(`attached${index}`, wasOutOfService ? 1 : 0);
  }, (nv, index, { errno }) => {
    if (errno !== 0) nv.addI32(`errno${index}`, errno);
  });
}

/** Decodes the answer to reload. */
export function decodeReloadReply(nv: Nv): ControlReply<ReloadReply> {
  return decodeReply(nv, (index, resource, error) => {
    return { resource, error, action: nv.string(`action${index}`) ?? "" };
  });
}

/** Decodes the answer to attach. */
export function decodeAttachReply(nv: Nv): ControlReply<AttachReply> {
  return decodeReply(nv, (index, resource, error) => {
    const wasOutOfService = nv.u8(`attached${index}`) === 1;
    return { resource, error, wasOutOfService, errno: nv.i32(`errno${index}`) ?? 0 };
  });
}

/** Decodes an answer of which only the daemon and an error matter: that to stop. */
export function decodePlainReply(nv: Nv): ControlReply<string> {
  return decodeReply(nv, (_index, resource) => resource);
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
    const extension = readStatusExtension(nv, index);
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
      ...(extension === undefined ? {} : { extension }),
    };
  });
}

type Add<Resource> = (nv: Nv, index: number, resource: Resource) => void;

function encodeReply<Resource extends { resource: string; error: number }>(
  reply: ControlReply<Resource>,
  add: Add<Resource>,
  addFailed: Add<Resource> = () => {},
): Nv {
  if (reply.error !== 0) return encodeControlError(reply.error, reply.message);
  if (reply.resources.length > CONTROL_RESOURCES_MAX) {
    return encodeControlError(CONTROL_ERROR.noMemory);
  }
  // The original cannot receive a header without entries.
  const nv = reply.resources.length === 0 ? encodeControlError(0) : new Nv();
  reply.resources.forEach((resource, index) => {
    nv.addString(`resource${index}`, resource.resource);
    if (resource.error === 0) return add(nv, index, resource);
    nv.addI16(`error${index}`, resource.error);
    addFailed(nv, index, resource);
  });
  if (reply.daemon !== undefined) addDaemon(nv, reply.daemon);
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
  if (reply.worker !== undefined) addWorker(nv, index, reply.worker);
  if (reply.extension !== undefined) addStatusExtension(nv, index, reply.extension);
}

function addWorker(
  nv: Nv,
  index: number,
  { status, figures }: { status: string; figures: WorkerFigures },
): void {
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
  if (error !== 0) return withKnown({ error, resources: [] }, { message: nv.string("message") });
  const resources: Resource[] = [];
  for (let index = 0;; index++) {
    const resource = nv.string(`resource${index}`);
    if (resource === undefined) return withKnown({ error, resources }, { daemon: readDaemon(nv) });
    if (index >= CONTROL_RESOURCES_MAX) {
      throw new ProtocolError(`Cannot read more than ${CONTROL_RESOURCES_MAX} resources`);
    }
    resources.push(decode(index, resource, nv.i16(`error${index}`) ?? 0));
  }
}

/** `reply` with those of `more` that are there. */
function withKnown<Resource>(
  reply: ControlReply<Resource>,
  { message, daemon }: { message?: string | undefined; daemon?: DaemonReply | undefined },
): ControlReply<Resource> {
  if (message !== undefined) reply.message = message;
  if (daemon !== undefined) reply.daemon = daemon;
  return reply;
}
