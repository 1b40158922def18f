/**
 * HMAC and HKDF with SHA-256.
 *
 * node:crypto has both, but Deno 2.4 writes a warning to standard error where its Hmac is used.
 *
 * Source: RFC 2104 (HMAC), RFC 5869 (HKDF).
 * @module
 */
import { createHash } from "node:crypto";
import { invariant } from "../base/errors.ts";

/** Bytes of SHA-256, and of everything here that is not asked for in another size. */
export const SHA256_BYTES = 32;
const BLOCK_BYTES = 64;
const EXPANDED_BYTES_MAX = 255 * SHA256_BYTES;

/** SHA-256 of `pieces` behind one another. */
export function sha256(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return new Uint8Array(hash.digest());
}

/** HMAC-SHA256 of `pieces` behind one another. */
export function hmacSha256(
  key: Uint8Array,
  ...pieces: readonly Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK_BYTES);
  block.set(key.length > BLOCK_BYTES ? sha256(key) : key);
  const inner = sha256(block.map((byte) => byte ^ 0x36), ...pieces);
  return sha256(block.map((byte) => byte ^ 0x5c), inner);
}

/** HKDF-Extract: one key of full strength out of `material`, which may have any form. */
export function hkdfExtract(salt: Uint8Array, material: Uint8Array): Uint8Array<ArrayBuffer> {
  return hmacSha256(salt, material);
}

/** HKDF-Expand: the key of `key` that is for `purpose`, and for nothing else. */
export function hkdfExpand(
  key: Uint8Array,
  purpose: Uint8Array,
  byteCount: number = SHA256_BYTES,
): Uint8Array<ArrayBuffer> {
  invariant(byteCount <= EXPANDED_BYTES_MAX, "HKDF expands to 255 hashes at most");
  const expanded = new Uint8Array(Math.ceil(byteCount / SHA256_BYTES) * SHA256_BYTES);
  let block = new Uint8Array(0);
  for (let at = 0, index = 1; at < byteCount; at += SHA256_BYTES, index++) {
    block = hmacSha256(key, block, purpose, Uint8Array.of(index));
    expanded.set(block, at);
  }
  return expanded.subarray(0, byteCount);
}
