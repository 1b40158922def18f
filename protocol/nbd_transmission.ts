/**
 * NBD requests and replies.
 *
 *   request          u32 0x25609513, u16 flags, u16 command, u64 cookie, u64 offset, u32 length
 *   simple reply     u32 0x67446698, u32 error, u64 cookie; data of a READ
 *   structured chunk u32 0x668e33ef, u16 flags, u16 type, u64 cookie, u32 payload length; payload
 *
 * Encoders write at an offset of a view and return the count of bytes written: replies go straight
 * into a queue. A cookie is opaque, and kept as two 32-bit halves so that no bigint is made.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Request message", "Simple reply
 * message", "Structured reply chunk message", "Structured reply types".
 * @module
 */
import { NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE } from "./nbd.ts";

const REQUEST_MAGIC = 0x25609513;
const SIMPLE_REPLY_MAGIC = 0x67446698;
const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

export const NBD_REQUEST_BYTES = 28;
export const NBD_SIMPLE_REPLY_BYTES = 16;
const CHUNK_HEADER_BYTES = 20;
/** A content chunk before its data. */
export const NBD_OFFSET_DATA_BYTES = CHUNK_HEADER_BYTES + 8;
/** An error chunk with an offset, before its message: the longest fixed part of all replies. */
export const NBD_ERROR_OFFSET_BYTES = CHUNK_HEADER_BYTES + 14;

const TWO_32 = 2 ** 32;
/** High halves of offsets from here on are beyond the safe integers. */
const UNSAFE_HIGH = 2 ** 21;

/** A request as decoded; one object is used for all of a connection. */
export class NbdRequestHeader {
  flags = 0;
  command = 0;
  cookieHigh = 0;
  cookieLow = 0;
  /** Infinity where the client's number is beyond 2^53: no export is that large. */
  offsetBytes = 0;
  lengthBytes = 0;
}

/**
 * Decodes the 28 bytes of a request at `at`.
 *
 * @returns false when the magic number is wrong: the stream is out of step.
 */
export function decodeRequest(view: DataView, at: number, header: NbdRequestHeader): boolean {
  if (view.getUint32(at) !== REQUEST_MAGIC) return false;
  header.flags = view.getUint16(at + 4);
  header.command = view.getUint16(at + 6);
  header.cookieHigh = view.getUint32(at + 8);
  header.cookieLow = view.getUint32(at + 12);
  const offsetHigh = view.getUint32(at + 16);
  const offsetLow = view.getUint32(at + 20);
  header.offsetBytes = offsetHigh < UNSAFE_HIGH ? offsetHigh * TWO_32 + offsetLow : Infinity;
  header.lengthBytes = view.getUint32(at + 24);
  return true;
}

/** The cookie of the request that a reply answers. */
export interface Cookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

/** Writes a simple reply (16 bytes); the data of a READ follows it. */
export function encodeSimpleReply(
  view: DataView,
  at: number,
  cookie: Cookie,
  nbdError: number,
): number {
  view.setUint32(at, SIMPLE_REPLY_MAGIC);
  view.setUint32(at + 4, nbdError);
  view.setUint32(at + 8, cookie.cookieHigh);
  view.setUint32(at + 12, cookie.cookieLow);
  return NBD_SIMPLE_REPLY_BYTES;
}

/** Writes a NONE chunk (20 bytes): success of a request without data. */
export function encodeNoneChunk(view: DataView, at: number, cookie: Cookie): number {
  return encodeChunkHeader(view, at, cookie, {
    type: NBD_REPLY_TYPE.none,
    done: true,
    payloadBytes: 0,
  });
}

/** Writes the head of a content chunk (28 bytes); `dataBytes` of data follow it. */
export function encodeOffsetDataHeader(
  view: DataView,
  at: number,
  cookie: Cookie,
  content: { offsetBytes: number; dataBytes: number; done: boolean },
): number {
  const { offsetBytes, dataBytes, done } = content;
  encodeChunkHeader(view, at, cookie, {
    type: NBD_REPLY_TYPE.offsetData,
    done,
    payloadBytes: 8 + dataBytes,
  });
  setOffset(view, at + CHUNK_HEADER_BYTES, offsetBytes);
  return NBD_OFFSET_DATA_BYTES;
}

/** Writes an error chunk with a message for a human being, the last chunk of its reply. */
export function encodeErrorChunk(
  view: DataView,
  at: number,
  cookie: Cookie,
  error: { nbdError: number; message: Uint8Array },
): number {
  const { nbdError, message } = error;
  const payloadBytes = 6 + message.length;
  encodeChunkHeader(view, at, cookie, { type: NBD_REPLY_TYPE.error, done: true, payloadBytes });
  setError(view, at + CHUNK_HEADER_BYTES, nbdError, message);
  return CHUNK_HEADER_BYTES + payloadBytes;
}

/** Writes an error chunk that says where the request failed. */
export function encodeErrorOffsetChunk(
  view: DataView,
  at: number,
  cookie: Cookie,
  error: { nbdError: number; message: Uint8Array; offsetBytes: number; done: boolean },
): number {
  const { nbdError, message, offsetBytes, done } = error;
  const payloadBytes = 14 + message.length;
  encodeChunkHeader(view, at, cookie, { type: NBD_REPLY_TYPE.errorOffset, done, payloadBytes });
  setError(view, at + CHUNK_HEADER_BYTES, nbdError, message);
  setOffset(view, at + CHUNK_HEADER_BYTES + 6 + message.length, offsetBytes);
  return CHUNK_HEADER_BYTES + payloadBytes;
}

/** One extent of BLOCK_STATUS; `state` is made of NBD_STATE. */
export interface Extent {
  lengthBytes: number;
  state: number;
}

/** Bytes of a BLOCK_STATUS chunk with `extentCount` extents. */
export function blockStatusChunkBytes(extentCount: number): number {
  return CHUNK_HEADER_BYTES + 4 + 8 * extentCount;
}

/** Writes a BLOCK_STATUS chunk, the last chunk of its reply. Lengths are below 4 GiB. */
export function encodeBlockStatusChunk(
  view: DataView,
  at: number,
  cookie: Cookie,
  status: { contextId: number; extents: readonly Extent[] },
): number {
  const { contextId, extents } = status;
  const payloadBytes = 4 + 8 * extents.length;
  encodeChunkHeader(view, at, cookie, {
    type: NBD_REPLY_TYPE.blockStatus,
    done: true,
    payloadBytes,
  });
  view.setUint32(at + CHUNK_HEADER_BYTES, contextId);
  let extentAt = at + CHUNK_HEADER_BYTES + 4;
  for (const extent of extents) {
    view.setUint32(extentAt, extent.lengthBytes);
    view.setUint32(extentAt + 4, extent.state);
    extentAt += 8;
  }
  return CHUNK_HEADER_BYTES + payloadBytes;
}

function encodeChunkHeader(
  view: DataView,
  at: number,
  cookie: Cookie,
  chunk: { type: number; done: boolean; payloadBytes: number },
): number {
  view.setUint32(at, STRUCTURED_REPLY_MAGIC);
  view.setUint16(at + 4, chunk.done ? NBD_REPLY_FLAG_DONE : 0);
  view.setUint16(at + 6, chunk.type);
  view.setUint32(at + 8, cookie.cookieHigh);
  view.setUint32(at + 12, cookie.cookieLow);
  view.setUint32(at + 16, chunk.payloadBytes);
  return CHUNK_HEADER_BYTES;
}

function setError(view: DataView, at: number, nbdError: number, message: Uint8Array): void {
  view.setUint32(at, nbdError);
  view.setUint16(at + 4, message.length);
  new Uint8Array(view.buffer, view.byteOffset + at + 6, message.length).set(message);
}

function setOffset(view: DataView, at: number, offsetBytes: number): void {
  view.setUint32(at, Math.floor(offsetBytes / TWO_32));
  view.setUint32(at + 4, offsetBytes % TWO_32);
}
