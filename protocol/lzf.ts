/**
 * LZF compression.
 *
 *   control byte c < 32    c + 1 literal bytes follow
 *   control byte c >= 32   length = c >> 5, plus the next byte where that is 7;
 *                          offset = ((c & 31) << 8) + next byte;
 *                          copy length + 2 bytes from offset + 1 bytes back, byte by byte
 *
 * Source: wire.md, "Data pipeline"; the format of liblzf.
 * @module
 */
import { invariant, ProtocolError } from "../base/errors.ts";

const LITERAL_BYTES_MAX = 32;
const MATCH_BYTES_MIN = 3;
const MATCH_BYTES_MAX = 264;
const DISTANCE_MAX = 8192;
/** Lengths from here on take a second byte. */
const LONG_LENGTH = 7;

const TABLE_BITS = 14;
/** After so many bytes without a match the search begins to skip, so that noise costs little. */
const SKIP_SHIFT = 6;
/** Positions in the table are kept below this, far from the end of 32-bit integers. */
const TABLE_POSITION_MAX = 2 ** 30;
/** Longest input: more would not fit the table's positions. */
export const LZF_INPUT_BYTES_MAX = 2 ** 29;

/** Compresses; keeps its table, so that a call allocates nothing. Not shared between threads. */
export class LzfCompressor {
  /** By hash of three bytes: `#base` plus the last position that had them. */
  readonly #table = new Int32Array(1 << TABLE_BITS);
  /** Entries below it belong to earlier calls. */
  #base = 1;

  /**
   * Compresses `source` to the front of `target`, up to its end.
   *
   * @returns Bytes written, or 0 where they do not fit (or `source` is empty).
   */
  compress(source: Uint8Array, target: Uint8Array): number {
    invariant(source.length <= LZF_INPUT_BYTES_MAX, "LZF input is within its limit");
    if (this.#base > TABLE_POSITION_MAX - source.length) {
      this.#table.fill(0);
      this.#base = 1;
    }
    const base = this.#base;
    this.#base += source.length;
    return this.#compress(source, target, base);
  }

  #compress(source: Uint8Array, target: Uint8Array, base: number): number {
    const table = this.#table;
    const searchEnd = source.length - MATCH_BYTES_MIN;
    let at = 0;
    let literalAt = 0;
    let out = 0;
    let missCount = 0;
    while (at <= searchEnd) {
      const three = (source[at] ?? 0) | (source[at + 1] ?? 0) << 8 | (source[at + 2] ?? 0) << 16;
      const slot = Math.imul(three, 0x9e3779b1) >>> (32 - TABLE_BITS);
      const found = (table[slot] ?? 0) - base;
      table[slot] = base + at;
      if (found < 0 || at - found > DISTANCE_MAX || !sameThree(source, found, at)) {
        at += 1 + (missCount++ >> SKIP_SHIFT);
        continue;
      }
      missCount = 0;
      const matchBytes = matchLength(source, found, at);
      out = putLiterals(source, literalAt, at, target, out);
      if (out < 0 || out + 3 > target.length) return 0;
      out = putMatch(target, out, at - found - 1, matchBytes);
      at += matchBytes;
      literalAt = at;
    }
    out = putLiterals(source, literalAt, source.length, target, out);
    return Math.max(out, 0);
  }
}

function sameThree(source: Uint8Array, a: number, b: number): boolean {
  return source[a] === source[b] && source[a + 1] === source[b + 1] &&
    source[a + 2] === source[b + 2];
}

function matchLength(source: Uint8Array, found: number, at: number): number {
  const max = Math.min(MATCH_BYTES_MAX, source.length - at);
  let length = MATCH_BYTES_MIN;
  while (length < max && source[found + length] === source[at + length]) length++;
  return length;
}

/** @returns the new end of the output, or -1 where it does not fit. */
function putLiterals(
  source: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  out: number,
): number {
  while (from < to) {
    const count = Math.min(LITERAL_BYTES_MAX, to - from);
    if (out + 1 + count > target.length) return -1;
    target[out++] = count - 1;
    for (let index = 0; index < count; index++) target[out + index] = source[from + index] ?? 0;
    out += count;
    from += count;
  }
  return out;
}

function putMatch(target: Uint8Array, out: number, offset: number, matchBytes: number): number {
  const length = matchBytes - 2;
  if (length < LONG_LENGTH) {
    target[out++] = length << 5 | offset >> 8;
  } else {
    target[out++] = LONG_LENGTH << 5 | offset >> 8;
    target[out++] = length - LONG_LENGTH;
  }
  target[out++] = offset & 0xff;
  return out;
}

/**
 * Decompresses `source` from a stranger; writes nothing behind the end of `target`.
 *
 * @returns Bytes written.
 * @throws {ProtocolError} The input is cut off, refers to bytes before the output, or makes more
 * than `target` holds.
 *
 * @example Two literals, then a copy that overlaps itself
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const target = new Uint8Array(6);
 * assertEquals(lzfDecompress(new Uint8Array([1, 97, 98, 2 << 5, 1]), target), 6);
 * assertEquals(new TextDecoder().decode(target), "ababab");
 * ```
 */
export function lzfDecompress(source: Uint8Array, target: Uint8Array): number {
  let at = 0;
  let out = 0;
  while (at < source.length) {
    const control = source[at++] ?? 0;
    if (control < LITERAL_BYTES_MAX) {
      const end = at + control + 1;
      if (end > source.length) fail("literals are cut off", at);
      if (out + control + 1 > target.length) fail("output is too long", at);
      while (at < end) target[out++] = source[at++] ?? 0;
      continue;
    }
    let length = control >> 5;
    if (length === LONG_LENGTH) {
      if (at >= source.length) fail("length is cut off", at);
      length += source[at++] ?? 0;
    }
    if (at >= source.length) fail("offset is cut off", at);
    let from = out - ((control & 31) << 8 | (source[at++] ?? 0)) - 1;
    if (from < 0) fail("copy from before the output", at);
    const outEnd = out + length + 2;
    if (outEnd > target.length) fail("output is too long", at);
    while (out < outEnd) target[out++] = target[from++] ?? 0;
  }
  return out;
}

function fail(reason: string, at: number): never {
  throw new ProtocolError(`Cannot decompress LZF: ${reason} at offset ${at}`);
}
