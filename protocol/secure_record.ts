/**
 * Records: what connections carry once both nodes have proven to know the same secret.
 *
 *   offset  size  field       meaning
 *   0       4     plainBytes  n, 1..65516, little-endian; authenticated
 *   4       n     sealed      the next n bytes of the stream, encrypted
 *   4+n     16    tag
 *
 * Each direction of each connection has a key of its own, and the nonce is the number of the record:
 * 4 zero bytes and a uint64, little-endian, that begins at 0. So a record that was changed, repeated,
 * left out, or taken from elsewhere does not open, and that is the end of the connection. A stream
 * that ends between two records is a lost link, as any other.
 *
 * A key seals 2^20 records; the next key is derived from it. That stays far below what AES-GCM may
 * seal with one key, and whoever gets hold of a key cannot read what was sent long before.
 *
 * Source: RFC 5116 (AEAD), RFC 8439 (ChaCha20-Poly1305), NIST SP 800-38D (GCM).
 * @module
 */
import { createCipheriv, createDecipheriv, getCiphers } from "node:crypto";
import { invariant, ProtocolError } from "../base/errors.ts";
import { hkdfExpand } from "./hkdf.ts";

/** Ciphers, the preferred one first: it is several times faster in Deno. */
export const CIPHERS = ["chacha20-poly1305", "aes-256-gcm"] as const;
export type CipherName = typeof CIPHERS[number];

/** Size of a key of either cipher. */
export const KEY_BYTES = 32;
export const RECORD_HEADER_BYTES = 4;
export const RECORD_TAG_BYTES = 16;
/** Largest record as a whole. */
export const RECORD_BYTES_MAX = 64 * 1024;
/** Largest content of a record. */
export const RECORD_PLAIN_BYTES_MAX = RECORD_BYTES_MAX - RECORD_HEADER_BYTES - RECORD_TAG_BYTES;
/** A key is used for so many records. */
export const RECORDS_PER_KEY = 2 ** 20;

const NONCE_BYTES = 12;
const NEXT_KEY = new TextEncoder().encode("hast next key");
const TAG_OPTION = { authTagLength: RECORD_TAG_BYTES };

/** The ciphers that this version of Deno has, the preferred one first. */
export function availableCiphers(): CipherName[] {
  const known = new Set(getCiphers());
  return CIPHERS.filter((name) => known.has(name));
}

/** Anything that does not open. */
export class RecordError extends ProtocolError {
  override name = "RecordError";
}

/** Which key and which nonce is next; the same on both sides. */
class Schedule {
  readonly nonce = new Uint8Array(NONCE_BYTES);
  readonly #view = new DataView(this.nonce.buffer);
  #key: Uint8Array;
  #count = 0;

  constructor(key: Uint8Array, recordCount: number) {
    invariant(key.length === KEY_BYTES, "a key has 32 bytes");
    this.#key = key;
    for (let passed = RECORDS_PER_KEY; passed <= recordCount; passed += RECORDS_PER_KEY) {
      this.#key = hkdfExpand(this.#key, NEXT_KEY);
    }
    this.#count = recordCount;
  }

  get count(): number {
    return this.#count;
  }

  /** Begins the next record: `nonce` is set. Returns the key. */
  next(): Uint8Array {
    const key = this.#key;
    this.#view.setUint32(4, this.#count >>> 0, true);
    this.#view.setUint32(8, Math.floor(this.#count / 2 ** 32), true);
    this.#count++;
    if (this.#count % RECORDS_PER_KEY === 0) this.#key = hkdfExpand(key, NEXT_KEY);
    return key;
  }
}

/** Seals what one side sends on one connection. */
export class RecordSealer {
  readonly #cipherName: CipherName;
  readonly #schedule: Schedule;
  #cipher: ReturnType<typeof newCipher> | undefined = undefined;
  #target: Uint8Array = new Uint8Array(0);
  #at = 0;
  #startBytes = 0;
  #leftBytes = 0;

  /** @param recordCount Records that were sealed before. */
  constructor(cipherName: CipherName, key: Uint8Array, recordCount = 0) {
    this.#cipherName = cipherName;
    this.#schedule = new Schedule(key, recordCount);
  }

  /**
   * Begins a record of `plainBytes`, 1 to {@link RECORD_PLAIN_BYTES_MAX}, at `at` of `target`;
   * it is given piece by piece to {@link add}.
   */
  begin(target: Uint8Array, at: number, plainBytes: number): void {
    invariant(plainBytes > 0 && plainBytes <= RECORD_PLAIN_BYTES_MAX, "a record has its limits");
    const header = headerOf(plainBytes);
    target.set(header, at);
    const key = this.#schedule.next();
    this.#cipher = newCipher(this.#cipherName, key, this.#schedule.nonce);
    this.#cipher.setAAD(header, { plaintextLength: plainBytes });
    this.#target = target;
    this.#startBytes = at;
    this.#at = at + RECORD_HEADER_BYTES;
    this.#leftBytes = plainBytes;
  }

  /** Encrypts the next bytes of the record. */
  add(piece: Uint8Array): void {
    invariant(piece.length <= this.#leftBytes, "a record is given what it was begun for");
    this.#leftBytes -= piece.length;
    this.#put(this.#cipher?.update(piece));
  }

  /** Ends the record. Returns its size. */
  end(): number {
    invariant(this.#leftBytes === 0, "a record is given all that it was begun for");
    this.#put(this.#cipher?.final());
    this.#put(this.#cipher?.getAuthTag());
    this.#cipher = undefined;
    return this.#at - this.#startBytes;
  }

  /** Forgets the record that was begun: nothing will be sent any more. */
  abandon(): void {
    this.#cipher?.final(); // Some versions of Deno hold memory until then.
    this.#cipher = undefined;
  }

  /** `plain` as one record. */
  seal(plain: Uint8Array): Uint8Array<ArrayBuffer> {
    const record = new Uint8Array(RECORD_HEADER_BYTES + plain.length + RECORD_TAG_BYTES);
    this.begin(record, 0, plain.length);
    this.add(plain);
    this.end();
    return record;
  }

  #put(bytes: Uint8Array | undefined): void {
    invariant(bytes !== undefined, "a record was begun");
    this.#target.set(bytes, this.#at);
    this.#at += bytes.length;
  }
}

/** Opens what the other side has sealed on one connection. */
export class RecordOpener {
  readonly #cipherName: CipherName;
  readonly #schedule: Schedule;
  #broken = false;

  /** @param recordCount Records that were opened before. */
  constructor(cipherName: CipherName, key: Uint8Array, recordCount = 0) {
    this.#cipherName = cipherName;
    this.#schedule = new Schedule(key, recordCount);
  }

  /** Records that were opened so far. */
  get recordCount(): number {
    return this.#schedule.count;
  }

  /**
   * Size of the record that begins at `start` of what was received up to `end`: 0 until its header
   * is there.
   *
   * @throws {RecordError} No record has that size.
   */
  recordBytes(bytes: Uint8Array, start: number, end: number): number {
    if (end - start < RECORD_HEADER_BYTES) return 0;
    let plainBytes = 0;
    for (let index = RECORD_HEADER_BYTES - 1; index >= 0; index--) {
      plainBytes = plainBytes * 256 + (bytes[start + index] ?? 0);
    }
    if (plainBytes === 0 || plainBytes > RECORD_PLAIN_BYTES_MAX) {
      this.#fail(`a record of ${plainBytes} bytes`);
    }
    return RECORD_HEADER_BYTES + plainBytes + RECORD_TAG_BYTES;
  }

  /**
   * Opens one whole record.
   *
   * @returns Its content, in memory of its own.
   * @throws {RecordError} It is not the one that the other side has sealed next. Nothing opens any
   * more then.
   */
  open(record: Uint8Array): Uint8Array {
    if (this.#broken) this.#fail("the record before it was wrong");
    const header = record.subarray(0, RECORD_HEADER_BYTES);
    const tagAt = record.length - RECORD_TAG_BYTES;
    invariant(this.recordBytes(record, 0, record.length) === record.length, "a record is whole");
    const key = this.#schedule.next();
    const decipher = newDecipher(this.#cipherName, key, this.#schedule.nonce);
    decipher.setAAD(header, { plaintextLength: tagAt - RECORD_HEADER_BYTES });
    decipher.setAuthTag(record.subarray(tagAt));
    try {
      const plain = decipher.update(record.subarray(RECORD_HEADER_BYTES, tagAt));
      decipher.final();
      return plain;
    } catch {
      return this.#fail("a record that was changed, repeated, left out or forged");
    }
  }

  #fail(what: string): never {
    this.#broken = true;
    throw new RecordError(`Cannot open ${what}`);
  }
}

function headerOf(plainBytes: number): Uint8Array {
  const header = new Uint8Array(RECORD_HEADER_BYTES);
  new DataView(header.buffer).setUint32(0, plainBytes, true);
  return header;
}

function newCipher(name: CipherName, key: Uint8Array, nonce: Uint8Array) {
  return name === "aes-256-gcm"
    ? createCipheriv(name, key, nonce, TAG_OPTION)
    : createCipheriv(name, key, nonce, TAG_OPTION);
}

function newDecipher(name: CipherName, key: Uint8Array, nonce: Uint8Array) {
  return name === "aes-256-gcm"
    ? createDecipheriv(name, key, nonce, TAG_OPTION)
    : createDecipheriv(name, key, nonce, TAG_OPTION);
}
