/**
 * Bytes that the original wrote, with their annotations; see tests/vectors/README.md.
 *
 * An annotated block is a list of [name, type, value] or of {name, type, value}; integers above
 * 2^53 - 1 are decimal strings, arrays are the hexadecimal digits of their bytes.
 * @module
 */
import { createHash } from "node:crypto";
import { Nv, NV_TYPE, type NvEntry } from "../../protocol/nv.ts";
import { decodeHex, encodeHex } from "./hex.ts";

/** Any JSON value, to be looked at before it is used. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Reads tests/vectors/NAME.json. */
export function loadVector(name: string): Json {
  return JSON.parse(Deno.readTextFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));
}

/** What stands at a path of keys and indexes; undefined where there is nothing. */
export function at(json: Json, ...path: (string | number)[]): Json | undefined {
  let value: Json | undefined = json;
  for (const key of path) {
    if (typeof value !== "object" || value === null) return undefined;
    if (Array.isArray(value)) value = typeof key === "number" ? value[key] : undefined;
    else value = value[String(key)];
  }
  return value;
}

/** The text at a path; fails where there is none. */
export function textAt(json: Json, ...path: (string | number)[]): string {
  const value = at(json, ...path);
  if (typeof value === "string") return value;
  throw new Error(`No text at ${path.join(".")}`);
}

/** The list at a path; fails where there is none. */
export function listAt(json: Json, ...path: (string | number)[]): Json[] {
  const value = at(json, ...path);
  if (Array.isArray(value)) return value;
  throw new Error(`No list at ${path.join(".")}`);
}

/** Every object below `json` for which `isWanted` holds, with the path to it. */
export function findObjects(
  json: Json,
  isWanted: (value: Json) => boolean,
  path = "",
): { path: string; value: Json }[] {
  if (typeof json !== "object" || json === null) return [];
  const own = !Array.isArray(json) && isWanted(json) ? [{ path, value: json }] : [];
  const below = Object.entries(json).flatMap(([key, value]) =>
    findObjects(value, isWanted, `${path}/${key}`)
  );
  return [...own, ...below];
}

/** An entry as annotated: integers as decimal strings, arrays as hexadecimal digits. */
export type Annotation = [name: string, type: string, value: string];

/** The annotation of a block in one form, whatever form it has in the file. */
export function annotations(json: Json): Annotation[] {
  if (!Array.isArray(json)) throw new Error("No list of entries");
  return json.map((entry) => {
    const [name, type, value] = Array.isArray(entry)
      ? entry
      : [at(entry, "name"), at(entry, "type"), at(entry, "value")];
    return [String(name), String(type), String(value)];
  });
}

/** Annotates what was decoded, in the form of {@link annotations}. */
export function annotate(nv: Nv): Annotation[] {
  return nv.entries().map((entry) => [entry.name, typeName(entry), valueText(nv, entry)]);
}

function typeName(entry: NvEntry): string {
  const found = Object.entries(NV_TYPE).find(([, type]) => type === entry.type);
  if (found === undefined) throw new Error(`No type ${entry.type}`);
  return found[0];
}

function valueText(nv: Nv, { name, type, data }: NvEntry): string {
  switch (type) {
    case NV_TYPE.int8:
      return String(nv.i8(name));
    case NV_TYPE.uint8:
      return String(nv.u8(name));
    case NV_TYPE.int16:
      return String(nv.i16(name));
    case NV_TYPE.uint16:
      return String(nv.u16(name));
    case NV_TYPE.int32:
      return String(nv.i32(name));
    case NV_TYPE.uint32:
      return String(nv.u32(name));
    case NV_TYPE.int64:
      return String(nv.i64(name));
    case NV_TYPE.uint64:
      return String(nv.u64(name));
    case NV_TYPE.string:
      return String(nv.string(name));
    default:
      return encodeHex(data);
  }
}

/** Builds a block from its annotation; only the types that the vectors use. */
export function nvFrom(entries: Annotation[]): Nv {
  const nv = new Nv();
  for (const [name, type, value] of entries) addAnnotated(nv, name, type, value);
  return nv;
}

function addAnnotated(nv: Nv, name: string, type: string, value: string): Nv {
  switch (type) {
    case "int8":
      return nv.addI8(name, Number(value));
    case "uint8":
      return nv.addU8(name, Number(value));
    case "int16":
      return nv.addI16(name, Number(value));
    case "int32":
      return nv.addI32(name, Number(value));
    case "uint32":
      return nv.addU32(name, Number(value));
    case "int64":
      return nv.addI64(name, BigInt(value));
    case "uint64":
      return nv.addU64(name, BigInt(value));
    case "uint8_array":
      return nv.addU8Array(name, decodeHex(value));
    case "string":
      return nv.addString(name, value);
    default:
      throw new Error(`No vector has type ${type}`);
  }
}

/** A block with the padding behind its names set to zero: the original leaves it as it is. */
export function maskNamePadding(block: Uint8Array): Uint8Array {
  const masked = block.slice();
  const view = new DataView(masked.buffer);
  const round8 = (bytes: number) => Math.ceil(bytes / 8) * 8;
  let offset = 0;
  while (offset < masked.length && masked[offset] !== 0) {
    const nameBytes = view.getUint8(offset + 1);
    const dataBytes = view.getUint32(offset + 2, true);
    masked.fill(0, offset + 6 + nameBytes, offset + 6 + round8(nameBytes));
    offset += 6 + round8(nameBytes) + round8(dataBytes);
  }
  return masked;
}

/** A frame of the files that is whole and well-formed. */
export interface VectorFrame {
  /** File and path, for messages. */
  path: string;
  versionByte: number;
  /** The name-value block as recorded. */
  block: Uint8Array<ArrayBuffer>;
  annotations: Annotation[];
  /** The data behind it; undefined where the file has only its hash. */
  data: Uint8Array<ArrayBuffer> | undefined;
  json: Json;
}

/** All frames of a file with a header that is not empty. */
export function framesOf(name: string): VectorFrame[] {
  const found = findObjects(
    loadVector(name),
    (value) => typeof at(value, "header_hex") === "string",
  );
  return found.filter(({ value }) => listAt(value, "nv").length > 0).map(({ path, value }) => {
    const bytes = decodeHex(textAt(value, "header_hex"));
    return {
      path: name + path,
      versionByte: Number(at(value, "version_byte")),
      block: bytes.slice(5),
      annotations: annotations(listAt(value, "nv")),
      data: frameData(value),
      json: value,
    };
  });
}

function frameData(frame: Json): Uint8Array<ArrayBuffer> | undefined {
  const hex = at(frame, "data_hex");
  const isWhole = typeof hex === "string" && /^[0-9a-f]*$/.test(hex);
  return isWhole ? decodeHex(hex) : undefined;
}

/** The block of blocks.json of this name, for instance `text_4096`. */
export function namedBlock(name: string): Uint8Array<ArrayBuffer> {
  const [kind, size] = name.split("_");
  const block = new Uint8Array(Number(size));
  for (let index = 0, offset = 0; kind !== "zero" && offset < block.length; index++) {
    const piece = kind === "text" ? textPiece(index) : randomPiece(index);
    block.set(piece.subarray(0, block.length - offset), offset);
    offset += piece.length;
  }
  return block;
}

function textPiece(index: number): Uint8Array {
  const number = String(index).padStart(6, "0");
  return new TextEncoder().encode(`line ${number} of a compressible block\n`);
}

function randomPiece(index: number): Uint8Array {
  const number = new Uint8Array(new Int32Array([index]).buffer);
  return createHash("sha256").update("hast-vector").update(number).digest();
}
