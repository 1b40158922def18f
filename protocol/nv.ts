/**
 * Name-value block: the body of every message and of the metadata on disk.
 *
 * Entries one after the other, nothing aligned, integers little-endian:
 *
 *   offset      size       field
 *   0           1          type 1..17; bit 7 is ignored; a whole byte of 0 ends the block
 *   1           1          k, size of the name with its NUL, 2..255
 *   2           4          d, size of the data, 1 and up
 *   6           round8(k)  name, NUL, padding (ignored: the original leaves it uninitialised)
 *   6+round8(k) round8(d)  data, padding
 *
 * Source: wire.md, "Name-value block"; nv.c of FreeBSD's hastd for the numbers of the types.
 * @module
 */
import { invariant, ProtocolError } from "../base/errors.ts";
import { arrayBytes, arrayOf, bigArrayOf, integerBytes, viewOf } from "./nv_integers.ts";

/** Numbers of the types on the wire. */
export const NV_TYPE = {
  int8: 1,
  uint8: 2,
  int16: 3,
  uint16: 4,
  int32: 5,
  uint32: 6,
  int64: 7,
  uint64: 8,
  int8_array: 9,
  uint8_array: 10,
  int16_array: 11,
  uint16_array: 12,
  int32_array: 13,
  uint32_array: 14,
  int64_array: 15,
  uint64_array: 16,
  string: 17,
} as const;
export type NvTypeName = keyof typeof NV_TYPE;

/** Most entries in a block: an extended status of 2,000 resources fits. The original has no limit. */
export const NV_ENTRIES_MAX = 128 * 1024;
/** Longest name in bytes, without its NUL. */
export const NV_NAME_BYTES_MAX = 254;

const ENTRY_HEADER_BYTES = 6;
/** A block that goes on has at least this many bytes left. */
const ENTRY_LEFT_BYTES_MIN = 8;
const STRING_TYPE = NV_TYPE.string;
const FIRST_ARRAY_TYPE = NV_TYPE.int8_array;
/** Bytes of a scalar, or of an array's element, by type; a string's are 1. */
const ELEMENT_BYTES = [0, 1, 1, 2, 2, 4, 4, 8, 8, 1, 1, 2, 2, 4, 4, 8, 8, 1] as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** One entry as it stands in a block; `data` has no padding and must not be changed. */
export interface NvEntry {
  readonly name: string;
  /** One of {@link NV_TYPE}. */
  readonly type: number;
  readonly data: Uint8Array;
}

/**
 * An ordered list of named, typed values.
 *
 * A getter answers undefined where there is no such name, or where its entry has another type. Where
 * a name stands twice the first counts. Names are compared as bytes (a character of ours is a byte);
 * strings are UTF-8, and what is not UTF-8 in them reads as U+FFFD.
 *
 * @example A keepalive request
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const bytes = new Nv().addU8("cmd", 5).encode();
 * assertEquals(bytes.length, 22);
 * assertEquals(Nv.decode(bytes).u8("cmd"), 5);
 * assertEquals(Nv.decode(bytes).u16("cmd"), undefined);
 * ```
 */
export class Nv {
  readonly #entries: NvEntry[] = [];
  readonly #firstByName = new Map<string, NvEntry>();

  /**
   * Decodes a block that a stranger sent; the result holds its own copy of the bytes.
   *
   * @throws {ProtocolError} The block is malformed; the message names the offset.
   */
  static decode(block: Uint8Array): Nv {
    return Nv.decodePrefix(block).nv;
  }

  /**
   * Like {@link Nv.decode}, and tells where the entries end.
   *
   * @returns `entriesBytes`: offset of the zero type byte, or the size of the block without one.
   */
  static decodePrefix(block: Uint8Array): { nv: Nv; entriesBytes: number } {
    const copy = block.slice();
    const nv = new Nv();
    let at = 0;
    while (at < copy.length && copy[at] !== 0) {
      if (nv.#entries.length >= NV_ENTRIES_MAX) fail(at, `more than ${NV_ENTRIES_MAX} entries`);
      at = nv.#decodeEntry(copy, at);
    }
    return { nv, entriesBytes: at };
  }

  #decodeEntry(block: Uint8Array, at: number): number {
    const leftBytes = block.length - at;
    if (leftBytes < ENTRY_LEFT_BYTES_MIN) fail(at, `entry is cut off after ${leftBytes} bytes`);
    const view = viewOf(block);
    const type = view.getUint8(at) & 0x7f;
    const elementBytes = ELEMENT_BYTES[type] ?? 0;
    if (elementBytes === 0) fail(at, `unknown type ${type}`);
    const nameBytes = view.getUint8(at + 1);
    const dataBytes = view.getUint32(at + 2, true);
    const dataAt = at + ENTRY_HEADER_BYTES + round8(nameBytes);
    if (dataAt > block.length) fail(at, "name runs past the end");
    if (dataAt + round8(dataBytes) > block.length) fail(at, "data runs past the end");
    const name = decodeName(block, at + ENTRY_HEADER_BYTES, nameBytes);
    const data = block.subarray(dataAt, dataAt + dataBytes);
    checkData(type, elementBytes, data, dataAt);
    this.#append({ name, type, data });
    return dataAt + round8(dataBytes);
  }

  #append(entry: NvEntry): void {
    this.#entries.push(entry);
    if (!this.#firstByName.has(entry.name)) this.#firstByName.set(entry.name, entry);
  }

  /** All entries in their order, duplicates included. */
  entries(): readonly NvEntry[] {
    return this.#entries;
  }

  /** A copy in which no entry has this name. */
  without(name: string): Nv {
    const rest = new Nv();
    for (const entry of this.#entries) if (entry.name !== name) rest.#append(entry);
    return rest;
  }

  /** Whether there is an entry of this name, of whatever type. */
  has(name: string): boolean {
    return this.#firstByName.has(name);
  }

  /** Size in bytes of what {@link encode} returns. */
  get encodedBytes(): number {
    let total = 0;
    for (const { name, data } of this.#entries) {
      total += ENTRY_HEADER_BYTES + round8(name.length + 1) + round8(data.length);
    }
    return total;
  }

  /** The block, all padding zero. */
  encode(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.encodedBytes);
    this.encodeInto(bytes, 0);
    return bytes;
  }

  /** Writes the block at offset `at` of `bytes`, which must be zero there and large enough. */
  encodeInto(bytes: Uint8Array, at: number): void {
    const view = viewOf(bytes);
    for (const { name, type, data } of this.#entries) {
      const nameBytes = name.length + 1;
      view.setUint8(at, type);
      view.setUint8(at + 1, nameBytes);
      view.setUint32(at + 2, data.length, true);
      at += ENTRY_HEADER_BYTES;
      for (let index = 0; index < name.length; index++) bytes[at + index] = name.charCodeAt(index);
      at += round8(nameBytes);
      bytes.set(data, at);
      at += round8(data.length);
    }
  }

  // Getters.

  #view(name: string, type: number): DataView | undefined {
    const entry = this.#firstByName.get(name);
    return entry?.type === type ? viewOf(entry.data) : undefined;
  }

  i8(name: string): number | undefined {
    return this.#view(name, NV_TYPE.int8)?.getInt8(0);
  }
  u8(name: string): number | undefined {
    return this.#view(name, NV_TYPE.uint8)?.getUint8(0);
  }
  i16(name: string): number | undefined {
    return this.#view(name, NV_TYPE.int16)?.getInt16(0, true);
  }
  u16(name: string): number | undefined {
    return this.#view(name, NV_TYPE.uint16)?.getUint16(0, true);
  }
  i32(name: string): number | undefined {
    return this.#view(name, NV_TYPE.int32)?.getInt32(0, true);
  }
  u32(name: string): number | undefined {
    return this.#view(name, NV_TYPE.uint32)?.getUint32(0, true);
  }
  i64(name: string): bigint | undefined {
    return this.#view(name, NV_TYPE.int64)?.getBigInt64(0, true);
  }
  u64(name: string): bigint | undefined {
    return this.#view(name, NV_TYPE.uint64)?.getBigUint64(0, true);
  }

  /**
   * A uint64 that is an offset, a length or a count.
   *
   * @throws {ProtocolError} It is above 2^53 - 1.
   */
  safeU64(name: string): number | undefined {
    return safeNumber(name, this.u64(name));
  }

  /**
   * An int64 that is an offset, a length or a count.
   *
   * @throws {ProtocolError} It is negative or above 2^53 - 1.
   */
  safeI64(name: string): number | undefined {
    return safeNumber(name, this.i64(name));
  }

  string(name: string): string | undefined {
    const entry = this.#firstByName.get(name);
    if (entry?.type !== STRING_TYPE) return undefined;
    return decoder.decode(entry.data.subarray(0, entry.data.length - 1));
  }

  i8Array(name: string): Int8Array | undefined {
    return arrayOf(this.#view(name, NV_TYPE.int8_array), 1, (n) => new Int8Array(n), "getInt8");
  }
  /** A copy of the bytes. */
  u8Array(name: string): Uint8Array<ArrayBuffer> | undefined {
    const entry = this.#firstByName.get(name);
    return entry?.type === NV_TYPE.uint8_array ? new Uint8Array(entry.data) : undefined;
  }
  i16Array(name: string): Int16Array | undefined {
    return arrayOf(this.#view(name, NV_TYPE.int16_array), 2, (n) => new Int16Array(n), "getInt16");
  }
  u16Array(name: string): Uint16Array | undefined {
    const view = this.#view(name, NV_TYPE.uint16_array);
    return arrayOf(view, 2, (n) => new Uint16Array(n), "getUint16");
  }
  i32Array(name: string): Int32Array | undefined {
    return arrayOf(this.#view(name, NV_TYPE.int32_array), 4, (n) => new Int32Array(n), "getInt32");
  }
  u32Array(name: string): Uint32Array | undefined {
    const view = this.#view(name, NV_TYPE.uint32_array);
    return arrayOf(view, 4, (n) => new Uint32Array(n), "getUint32");
  }
  i64Array(name: string): BigInt64Array | undefined {
    const view = this.#view(name, NV_TYPE.int64_array);
    return bigArrayOf(view, (n) => new BigInt64Array(n), "getBigInt64");
  }
  u64Array(name: string): BigUint64Array | undefined {
    const view = this.#view(name, NV_TYPE.uint64_array);
    return bigArrayOf(view, (n) => new BigUint64Array(n), "getBigUint64");
  }

  // Adders. A value out of range, or a name that is there already, is a bug of the caller.

  #add(name: string, type: number, data: Uint8Array): this {
    invariant(isName(name), `a name has 1 to ${NV_NAME_BYTES_MAX} bytes, none of them NUL`);
    invariant(!this.has(name), `"${name}" is added once`);
    invariant(data.length > 0, `"${name}" has data`);
    invariant(this.#entries.length < NV_ENTRIES_MAX, "a block is within its limit");
    this.#append({ name, type, data });
    return this;
  }

  addI8(name: string, value: number): this {
    return this.#add(name, NV_TYPE.int8, integerBytes(value, 1, true));
  }
  addU8(name: string, value: number): this {
    return this.#add(name, NV_TYPE.uint8, integerBytes(value, 1, false));
  }
  addI16(name: string, value: number): this {
    return this.#add(name, NV_TYPE.int16, integerBytes(value, 2, true));
  }
  addU16(name: string, value: number): this {
    return this.#add(name, NV_TYPE.uint16, integerBytes(value, 2, false));
  }
  addI32(name: string, value: number): this {
    return this.#add(name, NV_TYPE.int32, integerBytes(value, 4, true));
  }
  addU32(name: string, value: number): this {
    return this.#add(name, NV_TYPE.uint32, integerBytes(value, 4, false));
  }
  addI64(name: string, value: bigint | number): this {
    return this.#add(name, NV_TYPE.int64, integerBytes(value, 8, true));
  }
  addU64(name: string, value: bigint | number): this {
    return this.#add(name, NV_TYPE.uint64, integerBytes(value, 8, false));
  }

  /** `value` has no NUL. */
  addString(name: string, value: string): this {
    invariant(!value.includes("\0"), `"${name}" has no NUL inside`);
    return this.#add(name, STRING_TYPE, encoder.encode(value + "\0"));
  }

  addI8Array(name: string, values: Int8Array): this {
    return this.#add(name, NV_TYPE.int8_array, new Uint8Array(values));
  }
  addU8Array(name: string, values: Uint8Array): this {
    return this.#add(name, NV_TYPE.uint8_array, values.slice());
  }
  addI16Array(name: string, values: Int16Array): this {
    return this.#add(name, NV_TYPE.int16_array, arrayBytes(values, 2, true));
  }
  addU16Array(name: string, values: Uint16Array): this {
    return this.#add(name, NV_TYPE.uint16_array, arrayBytes(values, 2, false));
  }
  addI32Array(name: string, values: Int32Array): this {
    return this.#add(name, NV_TYPE.int32_array, arrayBytes(values, 4, true));
  }
  addU32Array(name: string, values: Uint32Array): this {
    return this.#add(name, NV_TYPE.uint32_array, arrayBytes(values, 4, false));
  }
  addI64Array(name: string, values: BigInt64Array): this {
    return this.#add(name, NV_TYPE.int64_array, arrayBytes(values, 8, true));
  }
  addU64Array(name: string, values: BigUint64Array): this {
    return this.#add(name, NV_TYPE.uint64_array, arrayBytes(values, 8, false));
  }
}

function fail(at: number, reason: string): never {
  throw new ProtocolError(`Cannot decode a name-value block: ${reason} at offset ${at}`);
}

function round8(byteCount: number): number {
  return Math.ceil(byteCount / 8) * 8; // Not bit operations: sizes reach 2^32.
}

function decodeName(block: Uint8Array, at: number, nameBytes: number): string {
  if (nameBytes < 2) fail(at, "empty name");
  const nulAt = block.indexOf(0, at);
  if (nulAt !== at + nameBytes - 1) {
    fail(
      at,
      nulAt >= 0 && nulAt < at + nameBytes ? "name with a NUL inside" : "name without a NUL",
    );
  }
  return String.fromCharCode(...block.subarray(at, nulAt));
}

function checkData(type: number, elementBytes: number, data: Uint8Array, at: number): void {
  if (data.length === 0) fail(at, "entry without data");
  if (type === STRING_TYPE) {
    const nulAt = data.indexOf(0);
    if (nulAt < 0) fail(at, "string without a NUL");
    if (nulAt !== data.length - 1) fail(at, "string with a NUL inside");
  } else if (type < FIRST_ARRAY_TYPE) {
    if (data.length !== elementBytes) fail(at, `scalar of ${data.length} bytes`);
  } else if (data.length % elementBytes !== 0) fail(at, `array of ${data.length} bytes`);
}

function isName(name: string): boolean {
  if (name.length < 1 || name.length > NV_NAME_BYTES_MAX) return false;
  for (let index = 0; index < name.length; index++) {
    const code = name.charCodeAt(index);
    if (code === 0 || code > 0xff) return false;
  }
  return true;
}

function safeNumber(name: string, value: bigint | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ProtocolError(`Cannot use "${name}": ${value} is out of range`);
  }
  return Number(value);
}
