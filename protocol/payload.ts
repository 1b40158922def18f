/**
 * Stages that data passes through: compression, then checksum; on receipt the other way round.
 *
 *   hole  a buffer of zeros is sent as its length, a uint32
 *   lzf   original length, a uint32, then LZF; for buffers over 1024 bytes, where it saves 1024
 *
 * The functions on plain bytes are for the data path: they allocate nothing but what node:crypto
 * needs for SHA-256. Those on a header are for the rest.
 *
 * Source: wire.md, "Data pipeline".
 * @module
 */
import { invariant, ProtocolError } from "../base/errors.ts";
import { HASH_BYTES, verifyHash, writeHash } from "./checksum.ts";
import { LzfCompressor, lzfDecompress } from "./lzf.ts";
import type { Nv } from "./nv.ts";

/** What the configuration may ask for. */
export type Compression = "none" | "hole" | "lzf";
export type Checksum = "none" | "crc32" | "sha256";

/** Bytes of the length in front of LZF output, and of a whole hole. */
export const COMPRESSED_LENGTH_BYTES = 4;
/** LZF is tried on buffers longer than this, and used where it saves at least as much. */
const LZF_SAVED_BYTES_MIN = 1024;

const lzf = new LzfCompressor();

/**
 * Whether every byte is zero; fast, and faster where an early byte is not.
 *
 * Words of 32 bits, eight in a step: as fast as 64-bit ones, and never a bigint on the heap.
 */
export function isAllZero(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return true;
  if (bytes[0] !== 0 || bytes[bytes.length >> 1] !== 0) return false;
  const headBytes = Math.min(-bytes.byteOffset & 3, bytes.length);
  const wordCount = (bytes.length - headBytes) >> 2;
  for (let index = 0; index < headBytes; index++) if (bytes[index] !== 0) return false;
  for (let index = headBytes + wordCount * 4; index < bytes.length; index++) {
    if (bytes[index] !== 0) return false;
  }
  if (wordCount === 0) return true; // A few bytes: the head may not even end at a word.
  return areWordsZero(new Int32Array(bytes.buffer, bytes.byteOffset + headBytes, wordCount));
}

function areWordsZero(words: Int32Array): boolean {
  const stepEnd = words.length & ~7;
  let index = 0;
  for (; index < stepEnd; index += 8) {
    const low = (words[index] ?? 0) | (words[index + 1] ?? 0) | (words[index + 2] ?? 0) |
      (words[index + 3] ?? 0);
    const high = (words[index + 4] ?? 0) | (words[index + 5] ?? 0) | (words[index + 6] ?? 0) |
      (words[index + 7] ?? 0);
    if ((low | high) !== 0) return false;
  }
  for (; index < words.length; index++) if (words[index] !== 0) return false;
  return true;
}

/**
 * Compresses `data` as a configuration asks.
 *
 * @param target Where to; at least 4 bytes. The more room than `data.length - 1024`, the better.
 * @returns Bytes in `target`, or 0: send `data` itself. {@link compressionSent} names the method.
 */
export function compressInto(
  compression: Compression,
  data: Uint8Array,
  target: Uint8Array,
): number {
  if (compression === "none" || data.length === 0) return 0;
  if (isAllZero(data)) return writeHole(data.length, target);
  if (compression === "hole") return 0;
  const bytesMax = Math.min(data.length - LZF_SAVED_BYTES_MIN, target.length);
  if (bytesMax <= COMPRESSED_LENGTH_BYTES) return 0;
  const lzfBytes = lzf.compress(data, target.subarray(COMPRESSED_LENGTH_BYTES, bytesMax));
  if (lzfBytes === 0) return 0;
  writeLength(data.length, target);
  return COMPRESSED_LENGTH_BYTES + lzfBytes;
}

/** The name of what {@link compressInto} made, by its result; undefined where it made nothing. */
export function compressionSent(compressedBytes: number): "hole" | "lzf" | undefined {
  if (compressedBytes === 0) return undefined;
  return compressedBytes === COMPRESSED_LENGTH_BYTES ? "hole" : "lzf"; // LZF adds a byte or more.
}

/** Writes `dataBytes` zeros as a hole; returns its size. */
export function writeHole(dataBytes: number, target: Uint8Array): number {
  writeLength(dataBytes, target);
  return COMPRESSED_LENGTH_BYTES;
}

function writeLength(dataBytes: number, target: Uint8Array): void {
  invariant(target.length >= COMPRESSED_LENGTH_BYTES, "there is room for a length");
  target[0] = dataBytes;
  target[1] = dataBytes >>> 8;
  target[2] = dataBytes >>> 16;
  target[3] = dataBytes >>> 24;
}

/**
 * The size that `raw` says it has when decompressed; nothing has been checked but its form.
 *
 * @param name `compression` of the header, as the peer sent it; undefined where it did not.
 * @throws {ProtocolError} Unknown name, or too short to hold a length.
 */
export function decompressedBytes(name: string | undefined, raw: Uint8Array): number {
  if (name === undefined) return raw.length;
  if (name !== "hole" && name !== "lzf") {
    throw new ProtocolError(`Unknown compression algorithm '${name}'`);
  }
  const isWhole = name === "hole"
    ? raw.length === COMPRESSED_LENGTH_BYTES
    : raw.length > COMPRESSED_LENGTH_BYTES;
  if (!isWhole) throw new ProtocolError(`Cannot decompress ${name}: it has ${raw.length} bytes`);
  return (raw[0] ?? 0) + (raw[1] ?? 0) * 0x100 + (raw[2] ?? 0) * 0x10000 +
    (raw[3] ?? 0) * 0x1000000;
}

/**
 * Decompresses `raw`, or copies it where it is not compressed, to the front of `destination`.
 *
 * @param name As in {@link decompressedBytes}.
 * @returns Bytes written. Whoever expects a certain size compares.
 * @throws {ProtocolError} Unknown name, malformed, or more than `destination` holds.
 */
export function decompress(
  name: string | undefined,
  raw: Uint8Array,
  destination: Uint8Array,
): number {
  const sizeBytes = decompressedBytes(name, raw);
  if (sizeBytes > destination.length) {
    throw new ProtocolError(
      `Cannot take ${sizeBytes} bytes of data: there is room for ${destination.length}`,
    );
  }
  if (name === undefined) {
    destination.set(raw);
  } else if (name === "hole") {
    destination.fill(0, 0, sizeBytes);
  } else {
    const target = destination.subarray(0, sizeBytes);
    const writtenBytes = lzfDecompress(raw.subarray(COMPRESSED_LENGTH_BYTES), target);
    if (writtenBytes !== sizeBytes) {
      throw new ProtocolError(`Cannot decompress LZF: ${writtenBytes} of ${sizeBytes} bytes`);
    }
  }
  return sizeBytes;
}

/** Stages to apply. */
export interface PayloadStages {
  compression: Compression;
  checksum: Checksum;
}

/**
 * Passes data through the stages and adds their fields, and `size`, to `header`.
 *
 * Without data nothing is added.
 *
 * @returns What to send behind the header: `data` itself where it was not compressed.
 */
export function encodePayload(header: Nv, data: Uint8Array, stages: PayloadStages): Uint8Array {
  if (data.length === 0) return data;
  const sent = compressed(header, data, stages.compression);
  if (stages.checksum !== "none") {
    const hash = new Uint8Array(HASH_BYTES[stages.checksum]);
    writeHash(stages.checksum, sent, hash, 0);
    header.addString("checksum", stages.checksum).addU8Array("hash", hash);
  }
  header.addU32("size", sent.length);
  return sent;
}

function compressed(header: Nv, data: Uint8Array, compression: Compression): Uint8Array {
  if (compression === "none") return data;
  const target = new Uint8Array(Math.max(data.length, COMPRESSED_LENGTH_BYTES));
  const byteCount = compressInto(compression, data, target);
  const name = compressionSent(byteCount);
  if (name === undefined) return data;
  header.addString("compression", name);
  return target.subarray(0, byteCount);
}

/**
 * Checks the hash that a header promises for the data behind it, if it promises one.
 *
 * @throws {ProtocolError} The hash is wrong or missing, or its algorithm unknown.
 */
export function verifyPayload(header: Nv, raw: Uint8Array): void {
  const name = header.string("checksum");
  if (name === undefined) return;
  const hash = header.u8Array("hash");
  if (hash === undefined) throw new ProtocolError("Cannot check data: there is no 'hash'");
  verifyHash(name, hash, raw);
}

/**
 * Takes received data back through the stages that its header names, whatever is configured here.
 *
 * @param raw The data of the frame, `size` bytes.
 * @returns Bytes written to the front of `destination`.
 * @throws {ProtocolError} Any stage fails, or there is more than `destination` holds.
 */
export function decodePayloadInto(header: Nv, raw: Uint8Array, destination: Uint8Array): number {
  verifyPayload(header, raw);
  return decompress(header.string("compression"), raw, destination);
}

/**
 * Like {@link decodePayloadInto}, into memory of its own (or `raw` itself).
 *
 * @param bytesMax Most bytes that the data may have in the end.
 */
export function decodePayload(header: Nv, raw: Uint8Array, bytesMax: number): Uint8Array {
  verifyPayload(header, raw);
  const name = header.string("compression");
  const sizeBytes = decompressedBytes(name, raw);
  if (sizeBytes > bytesMax) {
    throw new ProtocolError(`Cannot take ${sizeBytes} bytes of data: the limit is ${bytesMax}`);
  }
  if (name === undefined) return raw;
  const destination = new Uint8Array(sizeBytes);
  decompress(name, raw, destination);
  return destination;
}
