/**
 * Handshake: the primary connects twice, and both sides tell what they hold.
 *
 *   1  connection 1, primary    resource, version, [maxrequest]
 *      connection 1, secondary  version, token             or errmsg, [wait]
 *   2  connection 2, primary    resource, token, [virgin], resuid, localcnt, remotecnt, [maxrequest]
 *      connection 1, secondary  datasize, extentsize, localcnt, remotecnt, [virgin], syncsrc,
 *                               mapsize, [maxrequest], [claims], [activemap as data]
 *                               or (the first four,) errmsg
 *
 * `maxrequest` (uint32, bytes) is ours: the largest READ or WRITE that a node takes. The original
 * ignores it, and takes 128 KiB. So is `claims` (uint8 1): the secondary understands the request
 * `claim`. Where the nodes share a secret, there is more, and what follows the token is sealed: see
 * protocol/secure.ts.
 *
 * Source: wire.md, "Handshake".
 * @module
 */
import { ProtocolError } from "../base/errors.ts";
import { PROTOCOL_VERSION } from "./frame.ts";
import { Nv } from "./nv.ts";
import { decodePayload, encodePayload, type PayloadStages } from "./payload.ts";

/** Random bytes by which the second connection proves to belong to the first. */
export const TOKEN_BYTES = 16;
/** Largest request of a peer that does not say: what 10.x to 12.x of FreeBSD take. */
export const REQUEST_BYTES_DEFAULT = 128 * 1024;
/** Version of a peer that does not say. */
const VERSION_DEFAULT = 1;
/** A peer that claims to take more than this is taken to mean this. */
const REQUEST_BYTES_MAX = 32 * 1024 * 1024;

const SYNC_SOURCE = { primary: 1, secondary: 2 } as const;

/** What the primary says on connection 1. */
export interface FirstRequest {
  resource: string;
  /** Newest version it speaks, 1 and up; may be newer than ours. */
  version: number;
  /** Largest request it takes. */
  requestBytesMax: number;
}

/** What the secondary answers on connection 1. */
export interface FirstAnswer {
  kind: "accepted";
  /** Version of the resource's connections from now on, 1 or 2. */
  version: number;
  /** {@link TOKEN_BYTES} random bytes. */
  token: Uint8Array<ArrayBuffer>;
}

/** A refusal, in either step. */
export interface Refusal {
  kind: "refused";
  message: string;
  /** The other node is primary too: try again soon. First step only. */
  wait: boolean;
}

/** What the primary holds, as it says on connection 2. */
export interface HandshakeIdentity {
  /** It has just drawn `resuid`: there is no data yet. */
  virgin: boolean;
  resuid: bigint;
  localcnt: bigint;
  remotecnt: bigint;
  /** Largest request it takes; said again, so that the worker needs nothing of step 1. */
  requestBytesMax: number;
}

/** How connection 2 says what it belongs to. */
export interface SecondRequest {
  resource: string;
  /** As the peer sent it, of any length. */
  token: Uint8Array<ArrayBuffer>;
}

/** The four fields that every answer of the secondary's worker begins with. */
export interface SecondaryState {
  datasizeBytes: number;
  extentsizeBytes: number;
  localcnt: bigint;
  remotecnt: bigint;
}

/** What the secondary answers to step 2. */
export interface SecondAnswer extends SecondaryState {
  kind: "accepted";
  /** It was never used, and has taken over the primary's resuid. */
  virgin: boolean;
  /** Where synchronisation reads from. */
  syncSource: "primary" | "secondary";
  /** Extents that may differ; undefined where it sends no map: none does. */
  map: Uint8Array | undefined;
  /** Largest request it takes. */
  requestBytesMax: number;
  /** It understands the request `claim`. */
  takesClaims: boolean;
}

/** What sizes of an activemap make sense for a resource, in bytes. */
export interface MapLimits {
  bytesMin: number;
  bytesMax: number;
}

/** Encodes the first request. */
export function encodeFirstRequest(request: FirstRequest): Nv {
  const nv = new Nv().addString("resource", request.resource).addU8("version", request.version);
  return addRequestBytesMax(nv, request.requestBytesMax);
}

/** Whether the first frame of a connection is a second request: that has a token. */
export function isSecondRequest(header: Nv): boolean {
  return header.u8Array("token") !== undefined;
}

/**
 * Decodes the first request, from anybody who can connect.
 *
 * @throws {ProtocolError} It names no resource.
 */
export function decodeFirstRequest(header: Nv): FirstRequest {
  return {
    resource: requested(header),
    version: header.u8("version") || VERSION_DEFAULT,
    requestBytesMax: requestBytesMaxOf(header),
  };
}

/** The version to answer: the smaller of both. */
export function negotiateVersion(peerVersion: number): number {
  return Math.min(peerVersion, PROTOCOL_VERSION);
}

/** Encodes the answer to the first request. */
export function encodeFirstAnswer(answer: Omit<FirstAnswer, "kind">): Nv {
  return new Nv().addU8("version", answer.version).addU8Array("token", answer.token);
}

/**
 * Encodes a refusal by the main process, in either step.
 *
 * @param wait The primary should try again soon.
 */
export function encodeRefusal(message: string, wait = false): Nv {
  const nv = new Nv().addString("errmsg", message);
  return wait ? nv.addU8("wait", 1) : nv;
}

/**
 * Decodes the answer to the first request.
 *
 * @throws {ProtocolError} It has no token, or a version that we did not offer.
 */
export function decodeFirstAnswer(header: Nv): FirstAnswer | Refusal {
  const refusal = decodeRefusal(header);
  if (refusal !== undefined) return refusal;
  const version = header.u8("version") || VERSION_DEFAULT;
  if (version > PROTOCOL_VERSION) {
    throw new ProtocolError(`Invalid version received (${version}).`);
  }
  return { kind: "accepted", version, token: tokenOf(header) };
}

/**
 * Encodes the second request; `token` is the one received.
 *
 * @param identity Left out where it is sealed.
 */
export function encodeSecondRequest(request: SecondRequest, identity?: HandshakeIdentity): Nv {
  const nv = new Nv().addString("resource", request.resource).addU8Array("token", request.token);
  return identity === undefined ? nv : addIdentity(nv, identity);
}

/** Encodes what the primary holds, to be sealed. */
export function encodeIdentity(identity: HandshakeIdentity): Nv {
  return addIdentity(new Nv(), identity);
}

function addIdentity(nv: Nv, identity: HandshakeIdentity): Nv {
  if (identity.virgin) nv.addI8("virgin", 1);
  nv.addU64("resuid", identity.resuid);
  nv.addU64("localcnt", identity.localcnt).addU64("remotecnt", identity.remotecnt);
  return addRequestBytesMax(nv, identity.requestBytesMax);
}

/**
 * Decodes what the second request belongs to, from anybody who can connect: until the token has been
 * compared nothing else in it is worth a look.
 *
 * @throws {ProtocolError} It names no resource or has no token.
 */
export function decodeSecondRequest(header: Nv): SecondRequest {
  return { resource: requested(header), token: required("token", header.u8Array("token")) };
}

/**
 * Decodes what the primary holds, from a second request whose token is right.
 *
 * @throws {ProtocolError} A field is missing.
 */
export function decodeIdentity(header: Nv): HandshakeIdentity {
  return {
    virgin: header.has("virgin"),
    resuid: required("resuid", header.u64("resuid")),
    localcnt: required("localcnt", header.u64("localcnt")),
    remotecnt: required("remotecnt", header.u64("remotecnt")),
    requestBytesMax: requestBytesMaxOf(header),
  };
}

/**
 * Encodes the answer to step 2.
 *
 * @param stages What the map passes through.
 * @returns The header, and the data behind it: empty without a map.
 */
export function encodeSecondAnswer(
  answer: Omit<SecondAnswer, "kind">,
  stages: PayloadStages,
): { header: Nv; data: Uint8Array } {
  const header = secondaryState(answer);
  if (answer.virgin) header.addI8("virgin", 1);
  const map = answer.map ?? new Uint8Array(0);
  header.addU8("syncsrc", SYNC_SOURCE[answer.syncSource]).addU32("mapsize", map.length);
  addRequestBytesMax(header, answer.requestBytesMax);
  if (answer.takesClaims) header.addU8("claims", 1);
  return { header, data: encodePayload(header, map, stages) };
}

/** Encodes a refusal by the secondary's worker. */
export function encodeSecondRefusal(state: SecondaryState, message: string): Nv {
  return secondaryState(state).addString("errmsg", message);
}

/**
 * Decodes the answer to step 2; that datasize and extentsize are ours is the caller's to check.
 *
 * @param data The data behind the header, not yet through the payload stages.
 * @param mapLimits Smallest map that has a bit for every extent, and largest one to take.
 * @throws {ProtocolError} A field is missing or wrong, or the map malformed or not within limits.
 */
export function decodeSecondAnswer(
  header: Nv,
  data: Uint8Array,
  mapLimits: MapLimits,
): SecondAnswer | Refusal {
  const refusal = decodeRefusal(header);
  if (refusal !== undefined) return refusal;
  return {
    kind: "accepted",
    datasizeBytes: required("datasize", header.safeI64("datasize")),
    extentsizeBytes: required("extentsize", header.i32("extentsize")),
    localcnt: required("localcnt", header.u64("localcnt")),
    remotecnt: required("remotecnt", header.u64("remotecnt")),
    virgin: header.has("virgin"),
    syncSource: syncSourceOf(header),
    map: mapOf(header, data, mapLimits),
    requestBytesMax: requestBytesMaxOf(header),
    takesClaims: (header.u8("claims") ?? 0) !== 0,
  };
}

function secondaryState(state: SecondaryState): Nv {
  return new Nv()
    .addI64("datasize", state.datasizeBytes)
    .addI32("extentsize", state.extentsizeBytes)
    .addU64("localcnt", state.localcnt)
    .addU64("remotecnt", state.remotecnt);
}

function syncSourceOf(header: Nv): "primary" | "secondary" {
  const code = header.u8("syncsrc");
  if (code === SYNC_SOURCE.primary) return "primary";
  if (code === SYNC_SOURCE.secondary) return "secondary";
  throw new ProtocolError(`Invalid 'syncsrc' received (${code ?? "none"})`);
}

function mapOf(header: Nv, data: Uint8Array, limits: MapLimits): Uint8Array | undefined {
  const mapBytes = header.u32("mapsize") ?? 0;
  if (mapBytes === 0) return undefined;
  if (mapBytes < limits.bytesMin || mapBytes > limits.bytesMax) {
    const expected = `expected are ${limits.bytesMin} to ${limits.bytesMax}`;
    throw new ProtocolError(`Cannot take an activemap of ${mapBytes} bytes: ${expected}`);
  }
  const map = decodePayload(header, data, mapBytes);
  if (map.length === mapBytes) return map;
  throw new ProtocolError(`Cannot take an activemap: ${map.length} of ${mapBytes} bytes`);
}

function decodeRefusal(header: Nv): Refusal | undefined {
  const message = header.string("errmsg");
  if (message === undefined) return undefined;
  return { kind: "refused", message, wait: (header.u8("wait") ?? 0) !== 0 };
}

/** What the original takes goes unsaid: our bytes are then its bytes. */
function addRequestBytesMax(nv: Nv, requestBytesMax: number): Nv {
  return requestBytesMax === REQUEST_BYTES_DEFAULT ? nv : nv.addU32("maxrequest", requestBytesMax);
}

function requestBytesMaxOf(header: Nv): number {
  const saidBytes = header.u32("maxrequest") ?? REQUEST_BYTES_DEFAULT;
  return Math.min(Math.max(saidBytes, REQUEST_BYTES_DEFAULT), REQUEST_BYTES_MAX);
}

function requested(header: Nv): string {
  return required("resource", header.string("resource"));
}

function tokenOf(header: Nv): Uint8Array<ArrayBuffer> {
  const token = required("token", header.u8Array("token"));
  if (token.length === TOKEN_BYTES) return token;
  throw new ProtocolError(`Invalid token received (${token.length} bytes)`);
}

function required<T>(field: string, value: T | undefined): T {
  if (value === undefined) throw new ProtocolError(`Header has no '${field}' field`);
  return value;
}
