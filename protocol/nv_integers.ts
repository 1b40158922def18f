/**
 * Integers and arrays of name-value blocks as little-endian bytes, whatever the host's order is.
 *
 * Source: wire.md, "Name-value block".
 * @module
 */
import { invariant } from "../base/errors.ts";

/** A view of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The little-endian bytes of an integer of 1, 2, 4 or 8 bytes. */
export function integerBytes(
  value: bigint | number,
  byteCount: number,
  signed: boolean,
): Uint8Array {
  const data = new Uint8Array(byteCount);
  setInteger(viewOf(data), 0, BigInt(value), byteCount, signed);
  return data;
}

/** The little-endian bytes of an array's elements. */
export function arrayBytes(
  values: ArrayLike<number | bigint>,
  elementBytes: number,
  signed: boolean,
): Uint8Array {
  const data = new Uint8Array(values.length * elementBytes);
  const view = viewOf(data);
  for (let index = 0; index < values.length; index++) {
    setInteger(view, index * elementBytes, BigInt(values[index] ?? 0), elementBytes, signed);
  }
  return data;
}

function setInteger(
  view: DataView,
  at: number,
  value: bigint,
  byteCount: number,
  signed: boolean,
): void {
  const bits = byteCount * 8;
  const wrapped = signed ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
  invariant(wrapped === value, `${value} fits ${signed ? "a signed" : "an unsigned"} ${bits} bits`);
  if (byteCount === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
  else if (byteCount === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  else if (byteCount === 2) view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
  else view.setUint8(at, Number(BigInt.asUintN(8, value)));
}

type NumberGetter = "getInt8" | "getInt16" | "getUint16" | "getInt32" | "getUint32";

/** The elements of an array of 1, 2 or 4 bytes each; undefined of undefined. */
export function arrayOf<A extends { [index: number]: number }>(
  view: DataView | undefined,
  elementBytes: number,
  make: (length: number) => A,
  getter: NumberGetter,
): A | undefined {
  if (view === undefined) return undefined;
  const length = view.byteLength / elementBytes;
  const values = make(length);
  for (let i = 0; i < length; i++) values[i] = view[getter](i * elementBytes, true);
  return values;
}

/** The elements of an array of 8 bytes each; undefined of undefined. */
export function bigArrayOf<A extends { [index: number]: bigint }>(
  view: DataView | undefined,
  make: (length: number) => A,
  getter: "getBigInt64" | "getBigUint64",
): A | undefined {
  if (view === undefined) return undefined;
  const length = view.byteLength / 8;
  const values = make(length);
  for (let i = 0; i < length; i++) values[i] = view[getter](i * 8, true);
  return values;
}
