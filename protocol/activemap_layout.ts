/**
 * Activemap as bytes, on disk and in the handshake: bit i is bit (i & 7) of byte (i >> 3); 1 means
 * that extent i may differ between the nodes. Bits behind the last extent mean nothing.
 *
 * Source: disk.md.
 * @module
 */
import { invariant } from "../base/errors.ts";

/** Most extents of a resource: an index fits 31 bits. */
export const EXTENTS_MAX = 2 ** 31 - 1;

/** Extents that `dataBytes` take up. */
export function extentCountOf(dataBytes: number, extentsizeBytes: number): number {
  return Math.ceil(dataBytes / extentsizeBytes);
}

/** Bytes of a map that carry bits; on disk it is rounded up to whole sectors. */
export function activemapBytes(extentCount: number): number {
  return Math.ceil(extentCount / 8);
}

/** Whether an extent is marked. */
export function testExtent(map: Uint8Array, extent: number): boolean {
  return ((map[extent >> 3] ?? 0) & (1 << (extent & 7))) !== 0;
}

/** Marks an extent; it lies within the map. */
export function markExtent(map: Uint8Array, extent: number): void {
  map[extent >> 3] = (map[extent >> 3] ?? 0) | (1 << (extent & 7));
}

/** Takes the mark off an extent; it lies within the map. */
export function clearExtent(map: Uint8Array, extent: number): void {
  map[extent >> 3] = (map[extent >> 3] ?? 0) & ~(1 << (extent & 7));
}

/** Marked extents among the first `extentCount`. */
export function countExtents(map: Uint8Array, extentCount: number): number {
  const wholeBytes = Math.min(extentCount >> 3, map.length);
  let count = 0;
  for (let index = 0; index < wholeBytes; index++) count += bitsSet(map[index] ?? 0);
  if (wholeBytes < map.length) count += bitsSet((map[wholeBytes] ?? 0) & lastByteMask(extentCount));
  return count;
}

/**
 * Marks in `target` what is marked in `source`, for the first `extentCount` extents; what a peer
 * sent behind them is left out.
 *
 * @param target At least {@link activemapBytes} of them.
 * @param source The same.
 */
export function mergeExtents(target: Uint8Array, source: Uint8Array, extentCount: number): void {
  const byteCount = activemapBytes(extentCount);
  invariant(target.length >= byteCount && source.length >= byteCount, "maps cover every extent");
  const wholeBytes = extentCount >> 3;
  for (let index = 0; index < wholeBytes; index++) {
    target[index] = (target[index] ?? 0) | (source[index] ?? 0);
  }
  if (wholeBytes === byteCount) return;
  const last = (source[wholeBytes] ?? 0) & lastByteMask(extentCount);
  target[wholeBytes] = (target[wholeBytes] ?? 0) | last;
}

/** Bits of the byte that holds the extents behind the last whole byte. */
function lastByteMask(extentCount: number): number {
  return (1 << (extentCount & 7)) - 1;
}

function bitsSet(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}
