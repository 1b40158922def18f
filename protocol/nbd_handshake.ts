/**
 * NBD negotiation: greeting, options, replies to options.
 *
 *   greeting       u64 "NBDMAGIC", u64 "IHAVEOPT", u16 handshake flags
 *   its answer     u32 client flags
 *   option         u64 "IHAVEOPT", u32 option, u32 length, data
 *   option reply   u64 0x3e889045565a9, u32 option, u32 type, u32 length, data
 *
 * Decoders take bytes that a stranger sent and return undefined where these are malformed.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Newstyle negotiation", "Fixed
 * newstyle negotiation", "Option types", "Option reply types".
 * @module
 */
import { invariant } from "../base/errors.ts";
import { NBD_HANDSHAKE_FLAG, NBD_INFO, NBD_STRING_BYTES_MAX } from "./nbd.ts";

/** "NBDMAGIC" */
const INIT_MAGIC = 0x4e42444d41474943n;
/** "IHAVEOPT" */
const OPTION_MAGIC = 0x49484156454f5054n;
const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;

export const NBD_GREETING_BYTES = 18;
export const NBD_CLIENT_FLAGS_BYTES = 4;
export const NBD_OPTION_HEADER_BYTES = 16;
const OPTION_REPLY_HEADER_BYTES = 20;
/** Zeros after the answer to EXPORT_NAME, unless the client asked for none. */
const EXPORT_NAME_PADDING_BYTES = 124;

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What the server says first: fixed newstyle, and no padding for clients that want none. */
export function encodeGreeting(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(NBD_GREETING_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, INIT_MAGIC);
  view.setBigUint64(8, OPTION_MAGIC);
  view.setUint16(16, NBD_HANDSHAKE_FLAG.fixedNewstyle | NBD_HANDSHAKE_FLAG.noZeroes);
  return bytes;
}

/** What the client's flags mean. */
export interface ClientFlags {
  fixedNewstyle: boolean;
  noZeroes: boolean;
}

/**
 * Decodes the answer to the greeting.
 *
 * @param bytes At least 4 bytes.
 * @returns undefined when the client sets a flag that was not offered: the connection must end.
 */
export function decodeClientFlags(bytes: Uint8Array): ClientFlags | undefined {
  const flags = viewOf(bytes).getUint32(0);
  const { fixedNewstyle, noZeroes } = NBD_HANDSHAKE_FLAG;
  if ((flags & ~(fixedNewstyle | noZeroes)) !== 0) return undefined;
  return { fixedNewstyle: (flags & fixedNewstyle) !== 0, noZeroes: (flags & noZeroes) !== 0 };
}

/** Head of an option; `dataBytes` is what the client announced, up to 4 GiB. */
export interface OptionHeader {
  option: number;
  dataBytes: number;
}

/**
 * Decodes the head of an option.
 *
 * @param bytes At least 16 bytes.
 * @returns undefined when the magic number is wrong.
 *
 * @example An ABORT without data
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const bytes = new Uint8Array([...new TextEncoder().encode("IHAVEOPT"), 0, 0, 0, 2, 0, 0, 0, 0]);
 * assertEquals(decodeOptionHeader(bytes), { option: 2, dataBytes: 0 });
 * ```
 */
export function decodeOptionHeader(bytes: Uint8Array): OptionHeader | undefined {
  const view = viewOf(bytes);
  if (view.getBigUint64(0) !== OPTION_MAGIC) return undefined;
  return { option: view.getUint32(8), dataBytes: view.getUint32(12) };
}

/** One reply to an option. `type` is one of NBD_REP. */
export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(0),
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(OPTION_REPLY_HEADER_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, OPTION_REPLY_MAGIC);
  view.setUint32(8, option);
  view.setUint32(12, type);
  view.setUint32(16, data.length);
  bytes.set(data, OPTION_REPLY_HEADER_BYTES);
  return bytes;
}

/** Data of an error reply: a text for a human being, cut to what the protocol allows. */
export function encodeErrorText(text: string): Uint8Array {
  return utf8.encode(text).subarray(0, NBD_STRING_BYTES_MAX);
}

/** Data of a SERVER reply (to LIST): a name, then a description. */
export function encodeServerData(name: string, description: string): Uint8Array<ArrayBuffer> {
  const nameBytes = utf8.encode(name);
  const descriptionBytes = utf8.encode(description);
  const bytes = new Uint8Array(4 + nameBytes.length + descriptionBytes.length);
  new DataView(bytes.buffer).setUint32(0, nameBytes.length);
  bytes.set(nameBytes, 4);
  bytes.set(descriptionBytes, 4 + nameBytes.length);
  return bytes;
}

/** INFO data: size and transmission flags (NBD_FLAG). */
export function encodeInfoExport(
  sizeBytes: number,
  transmissionFlags: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, NBD_INFO.export);
  setSize(view, 2, sizeBytes);
  view.setUint16(10, transmissionFlags);
  return bytes;
}

/** INFO data: the canonical name or the description. */
export function encodeInfoText(
  type: typeof NBD_INFO.name | typeof NBD_INFO.description,
  text: string,
): Uint8Array<ArrayBuffer> {
  const textBytes = utf8.encode(text);
  const bytes = new Uint8Array(2 + textBytes.length);
  new DataView(bytes.buffer).setUint16(0, type);
  bytes.set(textBytes, 2);
  return bytes;
}

/** Size constraints of an export. */
export interface BlockSizes {
  /** Every offset and length is a multiple of this. */
  minimumBytes: number;
  preferredBytes: number;
  /** Most data in one request. */
  maximumBytes: number;
}

/** INFO data: size constraints. */
export function encodeInfoBlockSize(sizes: BlockSizes): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(14);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, NBD_INFO.blockSize);
  view.setUint32(2, sizes.minimumBytes);
  view.setUint32(6, sizes.preferredBytes);
  view.setUint32(10, sizes.maximumBytes);
  return bytes;
}

/** META_CONTEXT data. */
export function encodeMetaContext(contextId: number, name: string): Uint8Array<ArrayBuffer> {
  const nameBytes = utf8.encode(name);
  const bytes = new Uint8Array(4 + nameBytes.length);
  new DataView(bytes.buffer).setUint32(0, contextId);
  bytes.set(nameBytes, 4);
  return bytes;
}

/** The answer to EXPORT_NAME, with the 124 zeros unless `noZeroes`. */
export function encodeExportNameReply(
  sizeBytes: number,
  transmissionFlags: number,
  noZeroes: boolean,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(10 + (noZeroes ? 0 : EXPORT_NAME_PADDING_BYTES));
  const view = new DataView(bytes.buffer);
  setSize(view, 0, sizeBytes);
  view.setUint16(8, transmissionFlags);
  return bytes;
}

/** Data of INFO and GO. */
export interface InfoRequest {
  exportName: string;
  /** NBD_INFO numbers that the client asked for, unknown ones included. */
  infoTypes: number[];
}

/** Decodes the data of INFO or GO: exactly the whole of `data`. */
export function decodeInfoRequest(data: Uint8Array): InfoRequest | undefined {
  const reader = new Reader(data);
  const exportName = reader.string();
  const infoCount = reader.u16();
  if (exportName === undefined || infoCount === undefined) return undefined;
  if (reader.leftBytes !== infoCount * 2) return undefined;
  const infoTypes: number[] = [];
  for (let type = reader.u16(); type !== undefined; type = reader.u16()) infoTypes.push(type);
  return { exportName, infoTypes };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export interface MetaContextRequest {
  exportName: string;
  queries: string[];
}

/** Decodes the data of LIST_META_CONTEXT or SET_META_CONTEXT: exactly the whole of `data`. */
export function decodeMetaContextRequest(data: Uint8Array): MetaContextRequest | undefined {
  const reader = new Reader(data);
  const exportName = reader.string();
  const queryCount = reader.u32();
  if (exportName === undefined || queryCount === undefined) return undefined;
  const queries: string[] = [];
  for (let index = 0; index < queryCount; index++) {
    const query = reader.string(); // Undefined once the data ends: a false count costs nothing.
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return reader.leftBytes === 0 ? { exportName, queries } : undefined;
}

/** Decodes the data of EXPORT_NAME. */
export function decodeExportName(data: Uint8Array): string | undefined {
  return decodeString(data);
}

/** Takes integers and strings off the front of `data`; undefined once it is too short. */
class Reader {
  readonly #data: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
    this.#view = viewOf(data);
  }

  get leftBytes(): number {
    return this.#data.length - this.#at;
  }

  u16(): number | undefined {
    if (this.leftBytes < 2) return undefined;
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2);
  }

  u32(): number | undefined {
    if (this.leftBytes < 4) return undefined;
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4);
  }

  /** A 32-bit length, then as many bytes of UTF-8. */
  string(): string | undefined {
    const lengthBytes = this.u32();
    if (lengthBytes === undefined || lengthBytes > this.leftBytes) return undefined;
    this.#at += lengthBytes;
    return decodeString(this.#data.subarray(this.#at - lengthBytes, this.#at));
  }
}

function decodeString(bytes: Uint8Array): string | undefined {
  if (bytes.length > NBD_STRING_BYTES_MAX || bytes.includes(0)) return undefined;
  try {
    return strictUtf8.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined; // Not UTF-8.
    throw error;
  }
}

function setSize(view: DataView, at: number, sizeBytes: number): void {
  invariant(
    Number.isSafeInteger(sizeBytes) && sizeBytes >= 0,
    "an export's size is a safe integer",
  );
  view.setBigUint64(at, BigInt(sizeBytes));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
