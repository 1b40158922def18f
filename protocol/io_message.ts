/**
 * Requests (connection 1) and replies (connection 2): headers written straight into memory that is
 * there already, and read from it into an object that is used again.
 *
 *   request  cmd u8, seq u64, offset u64, length u64, [memsync u8 1]     cmd u8 alone: KEEPALIVE
 *   reply    seq u64, [received i8 1], [error i16]
 *   both     [compression string], [checksum string, hash u8 array], size u32    where there is data
 *
 * The decoder knows the fields in this order; a block with any other goes through `protocol/nv.ts`
 * and means the same.
 *
 * Source: wire.md, "Requests", "Replies", "Data pipeline".
 * @module
 */
import { ProtocolError } from "../base/errors.ts";
import { HASH_BYTES, writeHash } from "./checksum.ts";
import { DATA_BYTES_MAX, FRAME_PREFIX_BYTES, PROTOCOL_VERSION } from "./frame.ts";
import { Nv, NV_TYPE } from "./nv.ts";
import type { Checksum } from "./payload.ts";

/** `cmd` of requests; `claim` is ours, see `RemoteCommand` of core/ports.ts. */
export const IO_COMMAND = {
  read: 1,
  write: 2,
  delete: 3,
  flush: 4,
  keepalive: 5,
  claim: 6,
} as const;

/** Room that an encoder needs, prefix included. */
export const IO_HEADER_BYTES_MAX = 320;
/** Longest header (without prefix) taken from a peer: ours have at most 246 bytes. */
export const IO_HEADER_TAKEN_BYTES_MAX = 16 * 1024;
/** Largest READ or WRITE taken from a peer. */
export const IO_REQUEST_BYTES_MAX = 32 * 1024 * 1024;

/** Data behind a header, as it is sent. */
export interface SentPayload {
  /** What it was compressed with, if it was. */
  compression: "hole" | "lzf" | undefined;
  checksum: Checksum;
  /** Bytes of it. */
  sizeBytes: number;
  /** The data itself, of which the hash is made; not looked at without a checksum. */
  data: Uint8Array;
}

/** What a request says, but for its data. */
export interface RequestFields {
  readonly command: number;
  readonly seq: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly memsync: boolean;
}

const ENTRY_HEADER_BYTES = 6;

/** The bytes of an entry up to its data: type, sizes, name; padding of the name left out. */
function head(name: string, type: number, dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY_HEADER_BYTES + name.length + 1);
  bytes.set([type, name.length + 1, dataBytes, 0, 0, 0]);
  bytes.set(new TextEncoder().encode(name), ENTRY_HEADER_BYTES);
  return bytes;
}

/** A field as the codec knows it. */
interface Field {
  head: Uint8Array;
  /** From the beginning of the entry to its data, and to the next entry. */
  dataAt: number;
  entryBytes: number;
}

function round8(byteCount: number): number {
  return (byteCount + 7) & ~7;
}

function field(name: string, type: number, dataBytes: number): Field {
  const dataAt = ENTRY_HEADER_BYTES + round8(name.length + 1);
  return { head: head(name, type, dataBytes), dataAt, entryBytes: dataAt + round8(dataBytes) };
}

const CMD = field("cmd", NV_TYPE.uint8, 1);
const SEQ = field("seq", NV_TYPE.uint64, 8);
const OFFSET = field("offset", NV_TYPE.uint64, 8);
const LENGTH = field("length", NV_TYPE.uint64, 8);
const MEMSYNC = field("memsync", NV_TYPE.uint8, 1);
const RECEIVED = field("received", NV_TYPE.int8, 1);
const ERROR = field("error", NV_TYPE.int16, 2);
const SIZE = field("size", NV_TYPE.uint32, 4);

/** A string field with one of the values that we know. */
interface ValueField extends Field {
  value: string;
  text: Uint8Array;
}

function valueField(name: string, value: string): ValueField {
  const text = new TextEncoder().encode(value + "\0");
  return { ...field(name, NV_TYPE.string, text.length), value, text };
}

const COMPRESSION = {
  hole: valueField("compression", "hole"),
  lzf: valueField("compression", "lzf"),
};
const CHECKSUM = {
  crc32: valueField("checksum", "crc32"),
  sha256: valueField("checksum", "sha256"),
};
const HASH = {
  crc32: field("hash", NV_TYPE.uint8_array, HASH_BYTES.crc32),
  sha256: field("hash", NV_TYPE.uint8_array, HASH_BYTES.sha256),
};

// ---- encoding ----

/**
 * Writes a request.
 *
 * @param target Room for {@link IO_HEADER_BYTES_MAX} bytes at `at`; they need not be zero.
 * @param payload The data of a WRITE; undefined for all others.
 * @returns Bytes written; the data goes behind them.
 */
export function encodeRequest(
  target: Uint8Array,
  at: number,
  version: number,
  request: RequestFields,
  payload: SentPayload | undefined,
): number {
  let end = at + FRAME_PREFIX_BYTES;
  end = putByte(target, end, CMD, request.command);
  end = putU64(target, end, SEQ, request.seq);
  end = putU64(target, end, OFFSET, request.offsetBytes);
  end = putU64(target, end, LENGTH, request.lengthBytes);
  if (request.memsync) end = putByte(target, end, MEMSYNC, 1);
  if (payload !== undefined) end = putPayload(target, end, payload);
  return putPrefix(target, at, version, end);
}

/** Writes a KEEPALIVE, as {@link encodeRequest}. */
export function encodeKeepalive(target: Uint8Array, at: number, version: number): number {
  const end = putByte(target, at + FRAME_PREFIX_BYTES, CMD, IO_COMMAND.keepalive);
  return putPrefix(target, at, version, end);
}

/** What a reply says, but for its data. */
export interface ReplyFields {
  /** Halves of the request's number. */
  readonly seqLow: number;
  readonly seqHigh: number;
}

/**
 * Writes a reply, as {@link encodeRequest}.
 *
 * @param received The first of the two replies to a memsync write.
 * @param errno 0, or a FreeBSD errno.
 * @param payload The data of a READ that succeeded.
 */
export function encodeReply(
  target: Uint8Array,
  at: number,
  version: number,
  reply: ReplyFields,
  received: boolean,
  errno: number,
  payload: SentPayload | undefined,
): number {
  let end = putHalves(target, at + FRAME_PREFIX_BYTES, SEQ, reply.seqLow, reply.seqHigh);
  if (received) end = putByte(target, end, RECEIVED, 1);
  if (errno !== 0) {
    const dataAt = putHead(target, end, ERROR);
    target[dataAt] = errno;
    target[dataAt + 1] = errno >>> 8;
    end += ERROR.entryBytes;
  }
  if (payload !== undefined) end = putPayload(target, end, payload);
  return putPrefix(target, at, version, end);
}

function putPrefix(target: Uint8Array, at: number, version: number, end: number): number {
  target[at] = version;
  putU32(target, at + 1, end - at - FRAME_PREFIX_BYTES);
  return end - at;
}

function putPayload(target: Uint8Array, at: number, payload: SentPayload): number {
  let end = at;
  const { compression, checksum } = payload;
  if (compression !== undefined) end = putValue(target, end, COMPRESSION[compression]);
  if (checksum !== "none") {
    end = putValue(target, end, CHECKSUM[checksum]);
    writeHash(checksum, payload.data, target, putHead(target, end, HASH[checksum]));
    end += HASH[checksum].entryBytes;
  }
  putU32(target, putHead(target, end, SIZE), payload.sizeBytes);
  return end + SIZE.entryBytes;
}

/** Writes all of an entry but its data, which is left zero; returns where that goes. */
function putHead(target: Uint8Array, at: number, { head, dataAt, entryBytes }: Field): number {
  target.set(head, at);
  target.fill(0, at + head.length, at + entryBytes);
  return at + dataAt;
}

function putByte(target: Uint8Array, at: number, field: Field, value: number): number {
  target[putHead(target, at, field)] = value;
  return at + field.entryBytes;
}

function putValue(target: Uint8Array, at: number, field: ValueField): number {
  target.set(field.text, putHead(target, at, field));
  return at + field.entryBytes;
}

function putU64(target: Uint8Array, at: number, field: Field, value: number): number {
  return putHalves(target, at, field, value >>> 0, Math.floor(value / 0x1_0000_0000));
}

function putHalves(target: Uint8Array, at: number, field: Field, low: number, high: number) {
  const dataAt = putHead(target, at, field);
  putU32(target, dataAt, low);
  putU32(target, dataAt + 4, high);
  return at + field.entryBytes;
}

function putU32(target: Uint8Array, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
}

// ---- decoding ----

/** The header of a request or a reply, as it came. Nothing in it has been checked. */
export class IoHeader {
  version = 0;
  /** 0 where there is none. */
  command = 0;
  /** Halves of `seq`; both 0 where there is none. */
  seqLow = 0;
  seqHigh = 0;
  /** -1 where there is none; beyond 2^53 it is not exact. */
  offsetBytes = -1;
  lengthBytes = -1;
  memsync = false;
  received = false;
  /** 0 where there is none. */
  errno = 0;
  /** Names as the peer sent them; undefined where there is none. */
  compression: string | undefined = undefined;
  checksum: string | undefined = undefined;
  hash: Uint8Array | undefined = undefined;
  /** Bytes of data behind the header. */
  sizeBytes = 0;

  /** `seq` as one number; not exact beyond 2^53, where no request of ours is. */
  get seq(): number {
    return this.seqHigh * 0x1_0000_0000 + this.seqLow;
  }

  /** As before the first header. */
  clear(): void {
    this.version = 0;
    this.command = 0;
    this.seqLow = 0;
    this.seqHigh = 0;
    this.offsetBytes = -1;
    this.lengthBytes = -1;
    this.memsync = false;
    this.received = false;
    this.errno = 0;
    this.compression = undefined;
    this.checksum = undefined;
    this.hash = undefined;
    this.sizeBytes = 0;
  }
}

/** Takes headers off a stream; each result lasts until the next call. */
export class IoHeaderDecoder {
  readonly header = new IoHeader();
  readonly #hash = {
    crc32: new Uint8Array(HASH_BYTES.crc32),
    sha256: new Uint8Array(HASH_BYTES.sha256),
  };

  /**
   * Decodes the frame header at the beginning of `bytes[start..end)` into {@link header}.
   *
   * @returns Its size, prefix included; 0 if more bytes are needed.
   * @throws {ProtocolError} It is malformed or over a limit.
   */
  decode(bytes: Uint8Array, start: number, end: number): number {
    if (end - start < FRAME_PREFIX_BYTES) return 0;
    const version = bytes[start] ?? 0;
    const headerBytes = u32(bytes, start + 1);
    if (version > PROTOCOL_VERSION) {
      throw new ProtocolError(`Cannot read a frame of version ${version}: newest is version 2`);
    }
    if (headerBytes === 0 || headerBytes > IO_HEADER_TAKEN_BYTES_MAX) {
      throw new ProtocolError(
        `Cannot read a header of ${headerBytes} bytes: the limit is ${IO_HEADER_TAKEN_BYTES_MAX}`,
      );
    }
    const blockAt = start + FRAME_PREFIX_BYTES;
    const blockEnd = blockAt + headerBytes;
    if (blockEnd > end) return 0;
    this.header.clear();
    if (!this.#decodeUsual(bytes, blockAt, blockEnd)) {
      this.header.clear();
      this.decodeAny(bytes.subarray(blockAt, blockEnd));
    }
    this.header.version = version;
    if (this.header.sizeBytes > DATA_BYTES_MAX) {
      throw new ProtocolError(
        `Cannot read ${this.header.sizeBytes} bytes of data: the limit is ${DATA_BYTES_MAX}`,
      );
    }
    return FRAME_PREFIX_BYTES + headerBytes;
  }

  /** Fields in the usual order; false if it is any other block, `header` is then worthless. */
  #decodeUsual(bytes: Uint8Array, blockAt: number, end: number): boolean {
    const header = this.header;
    let at = blockAt;
    if (matches(bytes, at, end, CMD)) {
      header.command = bytes[at + CMD.dataAt] ?? 0;
      at += CMD.entryBytes;
    }
    if (matches(bytes, at, end, SEQ)) {
      header.seqLow = u32(bytes, at + SEQ.dataAt);
      header.seqHigh = u32(bytes, at + SEQ.dataAt + 4);
      at += SEQ.entryBytes;
    }
    if (matches(bytes, at, end, OFFSET)) {
      header.offsetBytes = u64(bytes, at + OFFSET.dataAt);
      at += OFFSET.entryBytes;
    }
    if (matches(bytes, at, end, LENGTH)) {
      header.lengthBytes = u64(bytes, at + LENGTH.dataAt);
      at += LENGTH.entryBytes;
    }
    if (at !== end) at = this.#decodeFlags(bytes, at, end);
    if (at !== end) at = this.#decodePayload(bytes, at, end);
    return at === end;
  }

  #decodeFlags(bytes: Uint8Array, start: number, end: number): number {
    const header = this.header;
    let at = start;
    if (matches(bytes, at, end, MEMSYNC)) {
      header.memsync = true; // Whatever its value: so the original.
      at += MEMSYNC.entryBytes;
    }
    if (matches(bytes, at, end, RECEIVED)) {
      header.received = bytes[at + RECEIVED.dataAt] !== 0;
      at += RECEIVED.entryBytes;
    }
    if (matches(bytes, at, end, ERROR)) {
      const low = bytes[at + ERROR.dataAt] ?? 0;
      header.errno = (((bytes[at + ERROR.dataAt + 1] ?? 0) << 24) >> 16) | low;
      at += ERROR.entryBytes;
    }
    return at;
  }

  #decodePayload(bytes: Uint8Array, start: number, end: number): number {
    const header = this.header;
    let at = start;
    for (const field of COMPRESSIONS) {
      if (!matches(bytes, at, end, field) || !hasText(bytes, at, field)) continue;
      header.compression = field.value;
      at += field.entryBytes;
      break;
    }
    for (const name of CHECKSUMS) {
      const field = CHECKSUM[name];
      if (!matches(bytes, at, end, field) || !hasText(bytes, at, field)) continue;
      const hashAt = at + field.entryBytes;
      if (!matches(bytes, hashAt, end, HASH[name])) return -1;
      header.checksum = name;
      header.hash = this.#hash[name];
      const dataAt = hashAt + HASH[name].dataAt;
      for (let index = 0; index < header.hash.length; index++) {
        header.hash[index] = bytes[dataAt + index] ?? 0;
      }
      at = hashAt + HASH[name].entryBytes;
      break;
    }
    if (matches(bytes, at, end, SIZE)) {
      header.sizeBytes = u32(bytes, at + SIZE.dataAt);
      at += SIZE.entryBytes;
    }
    return at;
  }

  /**
   * Decodes any block into {@link header}; `version` is left alone. For the rare block, and for
   * tests that compare.
   *
   * @throws {ProtocolError} It is malformed.
   */
  decodeAny(block: Uint8Array): void {
    const nv = Nv.decode(block);
    const header = this.header;
    const seq = nv.u64("seq") ?? 0n;
    header.command = nv.u8("cmd") ?? 0;
    header.seqLow = Number(seq & 0xffff_ffffn);
    header.seqHigh = Number(seq >> 32n);
    header.offsetBytes = Number(nv.u64("offset") ?? -1n);
    header.lengthBytes = Number(nv.u64("length") ?? -1n);
    header.memsync = nv.has("memsync");
    header.received = (nv.i8("received") ?? 0) !== 0;
    header.errno = nv.i16("error") ?? 0;
    header.compression = nv.string("compression");
    header.checksum = nv.string("checksum");
    header.hash = nv.u8Array("hash");
    header.sizeBytes = nv.u32("size") ?? 0;
  }
}

const COMPRESSIONS = [COMPRESSION.hole, COMPRESSION.lzf];
const CHECKSUMS = ["crc32", "sha256"] as const;

/** Whether the entry at `at` is this field; the padding of its name may be anything. */
function matches(bytes: Uint8Array, at: number, end: number, { head, entryBytes }: Field): boolean {
  if (at + entryBytes > end) return false;
  for (let index = 0; index < head.length; index++) {
    if (bytes[at + index] !== head[index]) return false;
  }
  return true;
}

function hasText(bytes: Uint8Array, at: number, { text, dataAt }: ValueField): boolean {
  for (let index = 0; index < text.length; index++) {
    if (bytes[at + dataAt + index] !== text[index]) return false;
  }
  return true;
}

function u32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) |
    ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

function u64(bytes: Uint8Array, at: number): number {
  return u32(bytes, at + 4) * 0x1_0000_0000 + u32(bytes, at);
}

// ---- checks ----

/** What a request is measured against. */
export interface RequestLimits {
  readonly datasizeBytes: number;
  readonly sectorSizeBytes: number;
}

/**
 * Checks a request as the secondary must.
 *
 * @returns undefined, or why it is answered with EINVAL.
 */
export function requestFault(header: IoHeader, limits: RequestLimits): string | undefined {
  if (header.command === 0) return "Header contains no 'cmd' field.";
  if (header.seqLow === 0 && header.seqHigh === 0) return "Header contains no 'seq' field.";
  if (header.command === IO_COMMAND.flush || header.command === IO_COMMAND.claim) return undefined;
  const ranged = header.command === IO_COMMAND.read || header.command === IO_COMMAND.write ||
    header.command === IO_COMMAND.delete;
  return ranged ? rangeFault(header, limits) : `Header contains invalid 'cmd' (${header.command}).`;
}

function rangeFault(header: IoHeader, limits: RequestLimits): string | undefined {
  const { command, offsetBytes, lengthBytes } = header;
  const { datasizeBytes, sectorSizeBytes } = limits;
  if (offsetBytes < 0) return "Header is missing 'offset' field.";
  if (lengthBytes < 0) return "Header is missing 'length' field.";
  if (lengthBytes === 0) return "Data length is zero.";
  if (command !== IO_COMMAND.delete && lengthBytes > IO_REQUEST_BYTES_MAX) {
    return `Data length is too large (${lengthBytes} > ${IO_REQUEST_BYTES_MAX}).`;
  }
  if (offsetBytes % sectorSizeBytes !== 0) {
    return `Offset ${offsetBytes} is not multiple of sector size.`;
  }
  if (lengthBytes % sectorSizeBytes !== 0) {
    return `Length ${lengthBytes} is not multiple of sector size.`;
  }
  // Sums beyond 2^53 are not exact, but no less than 2^53 either.
  if (offsetBytes + lengthBytes > datasizeBytes) {
    return `Data offset is too large (${offsetBytes + lengthBytes} > ${datasizeBytes}).`;
  }
  return undefined;
}
