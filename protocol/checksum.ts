/**
 * Checksums over data as it is sent.
 *
 * Source: wire.md, "Data pipeline"; RFC 1952 (CRC-32), FIPS 180-4 (SHA-256).
 * @module
 */
import { createHash } from "node:crypto";
import { crc32 as zlibCrc32 } from "node:zlib";
import { ProtocolError } from "../base/errors.ts";

export type ChecksumName = "crc32" | "sha256";

/** Bytes of a hash. */
export const HASH_BYTES = { crc32: 4, sha256: 32 } as const;

/** The usual reflected CRC-32 of `bytes`, as an unsigned number. */
export function crc32(bytes: Uint8Array): number {
  return zlibCrc32(bytes);
}

/**
 * Writes the hash of `bytes` to `target`.
 *
 * @param target Room for {@link HASH_BYTES} at `at`.
 */
export function writeHash(
  name: ChecksumName,
  bytes: Uint8Array,
  target: Uint8Array,
  at: number,
): void {
  if (name === "crc32") {
    const sum = crc32(bytes);
    target[at] = sum;
    target[at + 1] = sum >>> 8;
    target[at + 2] = sum >>> 16;
    target[at + 3] = sum >>> 24;
  } else {
    target.set(createHash("sha256").update(bytes).digest(), at);
  }
}

/** The name as one of ours, or undefined: a peer may send anything. */
export function checksumNamed(name: string): ChecksumName | undefined {
  return name === "crc32" || name === "sha256" ? name : undefined;
}

const scratch = new Uint8Array(32);

/**
 * Checks the hash that came with `bytes`.
 *
 * @throws {ProtocolError} Unknown name, hash of a wrong size, or a hash that does not fit.
 */
export function verifyHash(name: string, hash: Uint8Array, bytes: Uint8Array): void {
  const known = checksumNamed(name);
  if (known === undefined) throw new ProtocolError(`Unknown checksum algorithm '${name}'`);
  const hashBytes = HASH_BYTES[known];
  if (hash.length !== hashBytes) {
    throw new ProtocolError(`Cannot check ${known}: hash of ${hash.length} bytes`);
  }
  writeHash(known, bytes, scratch, 0);
  for (let index = 0; index < hashBytes; index++) {
    if (hash[index] !== scratch[index]) throw new ProtocolError(`Hash mismatch: ${known}`);
  }
}
