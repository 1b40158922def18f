import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { createCipheriv } from "node:crypto";
import { hmacSha256 } from "./hkdf.ts";
import {
  availableCiphers,
  type CipherName,
  RECORD_BYTES_MAX,
  RECORD_HEADER_BYTES,
  RECORD_PLAIN_BYTES_MAX,
  RECORD_TAG_BYTES,
  RecordError,
  RecordOpener,
  RECORDS_PER_KEY,
  RecordSealer,
} from "./secure_record.ts";

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 7 + 1);
const TEXT = new TextEncoder().encode("a write of the primary");

function pair(cipher: CipherName, recordCount = 0): [RecordSealer, RecordOpener] {
  return [
    new RecordSealer(cipher, KEY, recordCount),
    new RecordOpener(cipher, KEY, recordCount),
  ];
}

function content(byteCount: number, seed = 1): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: byteCount }, (_, index) => (index * 31 + seed * 17) & 0xff);
}

/** Runs a test with each cipher that this version of Deno has. */
function eachCipher(name: string, test: (cipher: CipherName) => void): void {
  for (const cipher of availableCiphers()) Deno.test(`${cipher}: ${name}`, () => test(cipher));
}

Deno.test("every version of Deno has AES-256-GCM", () => {
  assert(availableCiphers().includes("aes-256-gcm"));
});

eachCipher("records open in their order, whatever their size", (cipher) => {
  const [sealer, opener] = pair(cipher);
  for (const byteCount of [1, 15, 16, 17, 4096, RECORD_PLAIN_BYTES_MAX]) {
    const record = sealer.seal(content(byteCount));
    assertEquals(record.length, RECORD_HEADER_BYTES + byteCount + RECORD_TAG_BYTES);
    assert(record.length <= RECORD_BYTES_MAX);
    assertEquals(opener.recordBytes(record, 0, record.length), record.length);
    assertEquals(new Uint8Array(opener.open(record)), content(byteCount));
  }
  assertEquals(opener.recordCount, 6);
});

/** Record 258 with {@link TEXT}, made with another program (OpenSSL). */
const GOLDEN: Record<CipherName, string> = {
  "chacha20-poly1305":
    "16000000aa610309a471e5f4e1acff5a2b84749e13b877e0cb866f37102a88394335c752e8e5376707f1",
  "aes-256-gcm":
    "16000000b26eee46a17b6bc1fb4f0caebb6d3db700269280174afe4783674525e4c6ad3c04f68304f1a8",
};

eachCipher("a record is what other programs make of the same key, number and content", (cipher) => {
  const [sealer, opener] = pair(cipher, 258);
  const record = sealer.seal(TEXT);
  assertEquals(hex(record), GOLDEN[cipher]);
  assertEquals(new Uint8Array(opener.open(record)), TEXT);
});

function hex(data: Uint8Array): string {
  return [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

eachCipher("a record in pieces is the same record", (cipher) => {
  const whole = new RecordSealer(cipher, KEY).seal(content(1000));
  for (const splits of [[1, 999], [16, 984], [333, 333, 334], [0, 1000], [500, 0, 500]]) {
    const sealer = new RecordSealer(cipher, KEY);
    const target = new Uint8Array(whole.length + 10);
    sealer.begin(target, 7, 1000);
    let at = 0;
    for (const byteCount of splits) {
      sealer.add(content(1000).subarray(at, at + byteCount));
      at += byteCount;
    }
    assertEquals(sealer.end(), whole.length);
    assertEquals(target.subarray(7, 7 + whole.length), whole);
  }
});

eachCipher("a record with any bit of it changed does not open", (cipher) => {
  const record = new RecordSealer(cipher, KEY).seal(TEXT);
  for (let at = RECORD_HEADER_BYTES; at < record.length; at++) {
    for (const mask of [0x01, 0x80]) {
      const changed = record.slice();
      changed[at] = (changed[at] ?? 0) ^ mask;
      const opener = new RecordOpener(cipher, KEY);
      assertThrows(() => opener.open(changed), RecordError, "changed, repeated");
      assertThrows(() => opener.open(record), RecordError, "the record before it was wrong");
    }
  }
});

eachCipher("the size of a record cannot be changed", (cipher) => {
  const two = new RecordSealer(cipher, KEY);
  const stream = new Uint8Array([...two.seal(TEXT), ...two.seal(TEXT)]);
  for (let at = 0; at < RECORD_HEADER_BYTES; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const changed = stream.slice();
      changed[at] = (changed[at] ?? 0) ^ (1 << bit);
      assertThrows(() => {
        const opener = new RecordOpener(cipher, KEY);
        const recordBytes = opener.recordBytes(changed, 0, changed.length);
        // What never becomes whole never opens; a test must not wait for it.
        if (recordBytes > changed.length) throw new RecordError("not whole");
        opener.open(changed.subarray(0, recordBytes));
      }, RecordError);
    }
  }
});

eachCipher("a size that no record has is refused before its bytes have come", (cipher) => {
  for (const plainBytes of [0, RECORD_PLAIN_BYTES_MAX + 1, 0xffffffff]) {
    const header = new Uint8Array(RECORD_HEADER_BYTES);
    new DataView(header.buffer).setUint32(0, plainBytes, true);
    const opener = new RecordOpener(cipher, KEY);
    assertThrows(() => opener.recordBytes(header, 0, 4), RecordError, `${plainBytes} bytes`);
  }
  assertEquals(new RecordOpener(cipher, KEY).recordBytes(new Uint8Array(9), 3, 6), 0);
});

eachCipher("records that are repeated, left out or swapped do not open", (cipher) => {
  const sealer = new RecordSealer(cipher, KEY);
  const records = [1, 2, 3].map((seed) => sealer.seal(content(40, seed)));
  const [first = KEY, second = KEY, third = KEY] = records;
  for (const order of [[first, first], [second], [first, third], [second, first]]) {
    const opener = new RecordOpener(cipher, KEY);
    assertThrows(() => order.forEach((record) => opener.open(record)), RecordError);
  }
});

eachCipher("a record of another key or another connection does not open", (cipher) => {
  const other = new RecordSealer(cipher, KEY.map((byte) => byte ^ 1)).seal(TEXT);
  assertThrows(() => new RecordOpener(cipher, KEY).open(other), RecordError);
});

eachCipher("the same content is never sealed to the same bytes", (cipher) => {
  const sealer = new RecordSealer(cipher, KEY);
  const seen = new Set<string>();
  for (let count = 0; count < 100; count++) seen.add(sealer.seal(TEXT).toString());
  assertEquals(seen.size, 100);
});

eachCipher("the key changes after its records, on both sides alike", (cipher) => {
  for (const passed of [RECORDS_PER_KEY - 2, 3 * RECORDS_PER_KEY - 2]) {
    const [sealer, opener] = pair(cipher, passed);
    const records = [1, 2, 3, 4].map((seed) => sealer.seal(content(20, seed)));
    records.forEach((record, index) => {
      assertEquals(new Uint8Array(opener.open(record)), content(20, index + 1));
    });
    // Whoever joins later comes to the same key.
    const late = new RecordOpener(cipher, KEY, passed + 3);
    assertEquals(new Uint8Array(late.open(records[3] ?? KEY)), content(20, 4));
    assertEquals(records[2], sealedWith(cipher, passed + 2, content(20, 3)));
  }
  const [last, next] = [RECORDS_PER_KEY - 1, RECORDS_PER_KEY];
  assertEquals(sealedWith(cipher, last, TEXT), plainlySealed(cipher, last, TEXT));
  assertNotEquals(sealedWith(cipher, next, TEXT), plainlySealed(cipher, next, TEXT));
  assertEquals(sealedWith(cipher, next, TEXT), plainlySealed(cipher, next, TEXT, nextKey(KEY)));
});

function sealedWith(cipher: CipherName, recordCount: number, plain: Uint8Array) {
  return new RecordSealer(cipher, KEY, recordCount).seal(plain);
}

/** A record by the first key, unless another is given, made without the module under test. */
function plainlySealed(name: CipherName, count: number, plain: Uint8Array, key = KEY): Uint8Array {
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setBigUint64(4, BigInt(count), true);
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, plain.length, true);
  const options = { authTagLength: 16 };
  const cipher = name === "aes-256-gcm"
    ? createCipheriv(name, key, nonce, options)
    : createCipheriv(name, key, nonce, options);
  cipher.setAAD(header, { plaintextLength: plain.length });
  const sealed = cipher.update(plain);
  cipher.final();
  return new Uint8Array([...header, ...sealed, ...cipher.getAuthTag()]);
}

eachCipher("the number of a record fills the nonce beyond 32 bits", (cipher) => {
  let key = KEY;
  for (let passed = 0; passed < 2 ** 32; passed += RECORDS_PER_KEY) key = nextKey(key);
  assertEquals(
    sealedWith(cipher, 2 ** 32 + 5, TEXT),
    plainlySealed(cipher, 2 ** 32 + 5, TEXT, key),
  );
});

/** By RFC 5869, made without the module under test. */
function nextKey(key: Uint8Array): Uint8Array<ArrayBuffer> {
  return hmacSha256(key, new TextEncoder().encode("hast next key\x01"));
}
