import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailed, ProtocolError } from "../base/errors.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import { Nv, NV_ENTRIES_MAX, NV_TYPE } from "./nv.ts";

/** A block of one entry, with everything as given, right or wrong. */
function entry(type: number, name: number[], data: number[], sizes = {
  nameBytes: name.length,
  dataBytes: data.length,
}): Uint8Array<ArrayBuffer> {
  const padded = (bytes: number[]) => [...bytes, ...new Array((8 - bytes.length % 8) % 8).fill(0)];
  const size = new Uint8Array(new Uint32Array([sizes.dataBytes]).buffer);
  return new Uint8Array([type, sizes.nameBytes, ...size, ...padded(name), ...padded(data)]);
}

function concat(...blocks: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(blocks.flatMap((block) => [...block]));
}

const NAME = [0x6e, 0]; // "n"

/** A block with an entry of every type. */
function allTypes(): Nv {
  return new Nv()
    .addI8("i8", -128)
    .addU8("u8", 255)
    .addI16("i16", -32768)
    .addU16("u16", 65535)
    .addI32("i32", -2147483648)
    .addU32("u32", 4294967295)
    .addI64("i64", -(2n ** 63n))
    .addU64("u64", 2n ** 64n - 1n)
    .addI8Array("i8s", new Int8Array([-1, 127]))
    .addU8Array("u8s", new Uint8Array([1, 2, 3]))
    .addI16Array("i16s", new Int16Array([-1, 32767]))
    .addU16Array("u16s", new Uint16Array([1, 65535]))
    .addI32Array("i32s", new Int32Array([-1, 2147483647]))
    .addU32Array("u32s", new Uint32Array([1, 4294967295]))
    .addI64Array("i64s", new BigInt64Array([-1n, 2n ** 63n - 1n]))
    .addU64Array("u64s", new BigUint64Array([1n, 2n ** 64n - 1n]))
    .addString("string", "grüße");
}

Deno.test("Nv encodes an entry byte by byte", () => {
  const bytes = new Nv().addU16("seventy", 0x1234).addString("s", "ab").encode();
  assertEquals(
    bytes,
    concat(
      new Uint8Array([4, 8, 2, 0, 0, 0]),
      new TextEncoder().encode("seventy\0"),
      new Uint8Array([0x34, 0x12, 0, 0, 0, 0, 0, 0]),
      new Uint8Array([17, 2, 3, 0, 0, 0]),
      new TextEncoder().encode("s\0\0\0\0\0\0\0"),
      new TextEncoder().encode("ab\0\0\0\0\0\0"),
    ),
  );
});

Deno.test("Nv gives back what was added, of all types", () => {
  const nv = Nv.decode(allTypes().encode());
  assertEquals(nv.entries().map(({ type }) => type), Object.values(NV_TYPE));
  assertEquals(nv.i8("i8"), -128);
  assertEquals(nv.u8("u8"), 255);
  assertEquals(nv.i16("i16"), -32768);
  assertEquals(nv.u16("u16"), 65535);
  assertEquals(nv.i32("i32"), -2147483648);
  assertEquals(nv.u32("u32"), 4294967295);
  assertEquals(nv.i64("i64"), -(2n ** 63n));
  assertEquals(nv.u64("u64"), 2n ** 64n - 1n);
  assertEquals(nv.i8Array("i8s"), new Int8Array([-1, 127]));
  assertEquals(nv.u8Array("u8s"), new Uint8Array([1, 2, 3]));
  assertEquals(nv.i16Array("i16s"), new Int16Array([-1, 32767]));
  assertEquals(nv.u16Array("u16s"), new Uint16Array([1, 65535]));
  assertEquals(nv.i32Array("i32s"), new Int32Array([-1, 2147483647]));
  assertEquals(nv.u32Array("u32s"), new Uint32Array([1, 4294967295]));
  assertEquals(nv.i64Array("i64s"), new BigInt64Array([-1n, 2n ** 63n - 1n]));
  assertEquals(nv.u64Array("u64s"), new BigUint64Array([1n, 2n ** 64n - 1n]));
  assertEquals(nv.string("string"), "grüße");
  assertEquals(nv.encode(), allTypes().encode());
});

Deno.test("Nv getters answer undefined for entries of another type and for absent ones", () => {
  const nv = allTypes();
  const getters = {
    i8: nv.i8("u8"),
    u8: nv.u8("i8"),
    i16: nv.i16("u16"),
    u16: nv.u16("i16"),
    i32: nv.i32("u32"),
    u32: nv.u32("u64"),
    i64: nv.i64("u64"),
    u64: nv.u64("u32"),
    safeU64: nv.safeU64("u32"),
    string: nv.string("u8s"),
    u8Array: nv.u8Array("string"),
    i8Array: nv.i8Array("u8s"),
    u64Array: nv.u64Array("i64s"),
    u16Array: nv.u16Array("u16"),
    absent: nv.u8("absent"),
  };
  for (const [name, value] of Object.entries(getters)) assertEquals(value, undefined, name);
  assert(nv.has("u8") && !nv.has("absent"));
});

/** Values that fit a type, from a random number generator. */
function addRandom(nv: Nv, name: string, random: Random): void {
  const count = 1 + random.below(9);
  const numbers = Array.from({ length: count }, () => random.next());
  const bigs = numbers.map((value) => BigInt(value) << 32n | BigInt(random.next()));
  const first = numbers[0] ?? 0;
  const adders = [
    () => nv.addI8(name, first << 24 >> 24),
    () => nv.addU8(name, first & 0xff),
    () => nv.addI16(name, first << 16 >> 16),
    () => nv.addU16(name, first & 0xffff),
    () => nv.addI32(name, first | 0),
    () => nv.addU32(name, first),
    () => nv.addI64(name, BigInt.asIntN(64, bigs[0] ?? 0n)),
    () => nv.addU64(name, bigs[0] ?? 0n),
    () => nv.addI8Array(name, Int8Array.from(numbers)),
    () => nv.addU8Array(name, Uint8Array.from(numbers)),
    () => nv.addI16Array(name, Int16Array.from(numbers)),
    () => nv.addU16Array(name, Uint16Array.from(numbers)),
    () => nv.addI32Array(name, Int32Array.from(numbers)),
    () => nv.addU32Array(name, Uint32Array.from(numbers)),
    () => nv.addI64Array(name, BigInt64Array.from(bigs)),
    () => nv.addU64Array(name, BigUint64Array.from(bigs)),
    () => nv.addString(name, String.fromCodePoint(...numbers.map((value) => 1 + value % 0xd7ff))),
  ];
  adders[random.below(adders.length)]?.();
}

Deno.test("Nv round-trips random lists, and rejects or shortens every truncation", () => {
  const seed = testSeed();
  const random = new Random(seed);
  for (let round = 0; round < 200; round++) {
    const nv = new Nv();
    const entryCount = 1 + random.below(8);
    for (let index = 0; index < entryCount; index++) {
      addRandom(nv, `${index}`.padEnd(1 + random.below(30), "x"), random);
    }
    const bytes = nv.encode();
    assertEquals(Nv.decode(bytes).entries(), nv.entries(), `seed ${seed}`);
    assertEquals(Nv.decode(bytes).encode(), bytes, `seed ${seed}`);
    const boundaries = entryEnds(nv);
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      const whole = boundaries.indexOf(length);
      if (whole < 0) assertThrows(() => Nv.decode(cut), ProtocolError, "offset", `seed ${seed}`);
      else assertEquals(Nv.decode(cut).entries().length, whole, `seed ${seed}`);
    }
  }
});

/** Offsets at which 0, 1, 2, ... entries are over. */
function entryEnds(nv: Nv): number[] {
  const prefix = new Nv();
  const ends = [0];
  for (const { name, data } of nv.entries()) {
    prefix.addU8Array(name, data); // The same size, whatever the type.
    ends.push(prefix.encodedBytes);
  }
  return ends;
}

Deno.test("Nv survives random bytes and damaged blocks", () => {
  const seed = testSeed();
  const random = new Random(seed);
  const good = allTypes().encode();
  let rejectedCount = 0;
  for (let round = 0; round < 3000; round++) {
    const bytes = round % 2 === 0 ? random.bytes(4 * (1 + random.below(40))) : good.slice();
    if (round % 2 === 1) bytes[random.below(bytes.length)] = random.below(256);
    try {
      const nv = Nv.decode(bytes);
      assert(nv.encodedBytes <= bytes.length, `seed ${seed}`);
    } catch (error) {
      assert(error instanceof ProtocolError, `seed ${seed}: ${error}`);
      rejectedCount++;
    }
  }
  assert(rejectedCount > 1500, `${rejectedCount}, seed ${seed}`);
});

const MALFORMED: [what: string, block: Uint8Array, reason: string][] = [
  ["fewer than 8 bytes", new Uint8Array([2, 2, 1, 0, 0, 0, 0x6e]), "cut off"],
  ["a name past the end", entry(2, NAME, [1]).subarray(0, 13), "name runs past the end"],
  ["data past the end", entry(2, NAME, [1]).subarray(0, 21), "data runs past the end"],
  [
    "4 GiB of data",
    entry(10, NAME, [1], { nameBytes: 2, dataBytes: 0xffffffff }),
    "data runs past the end",
  ],
  ["a name without a NUL", entry(2, [0x6e, 0x6e], [1]), "name without a NUL"],
  [
    "a name of 255 bytes past the end",
    entry(2, NAME, [1], { nameBytes: 255, dataBytes: 1 }),
    "past",
  ],
  ["a name with a NUL inside", entry(2, [0x6e, 0, 0x6e, 0], [1]), "name with a NUL inside"],
  ["a name of size 1", entry(2, [0], [1]), "empty name"],
  ["a name of size 0", entry(2, [], [1]), "empty name"],
  ["type 18", entry(18, NAME, [1]), "unknown type 18"],
  ["type 127", entry(127, NAME, [1]), "unknown type 127"],
  ["type 0 with bit 7", entry(0x80, NAME, [1]), "unknown type 0"],
  ["no data", entry(2, NAME, []), "without data"],
  ["no data in a string", entry(17, NAME, []), "without data"],
  ["a uint8 of 2 bytes", entry(2, NAME, [1, 2]), "scalar of 2 bytes"],
  ["an int16 of 1 byte", entry(3, NAME, [1]), "scalar of 1 bytes"],
  ["a uint64 of 4 bytes", entry(8, NAME, [1, 2, 3, 4]), "scalar of 4 bytes"],
  ["a uint16 array of 3 bytes", entry(12, NAME, [1, 2, 3]), "array of 3 bytes"],
  ["an int64 array of 9 bytes", entry(15, NAME, [1, 2, 3, 4, 5, 6, 7, 8, 9]), "array of 9 bytes"],
  ["a string without a NUL", entry(17, NAME, [0x61]), "string without a NUL"],
  ["a string with a NUL inside", entry(17, NAME, [0x61, 0, 0x61, 0]), "string with a NUL inside"],
];

for (const [what, block, reason] of MALFORMED) {
  Deno.test(`Nv rejects ${what}, also behind a good entry`, () => {
    const good = new Nv().addU8("good", 1).encode();
    assertThrows(() => Nv.decode(block), ProtocolError, reason);
    assertThrows(() => Nv.decode(concat(good, block)), ProtocolError, reason);
  });
}

Deno.test("Nv takes the shortest and the longest name", () => {
  const long = "n".repeat(254);
  const nv = Nv.decode(new Nv().addU8("n", 1).addU8(long, 2).encode());
  assertEquals([nv.u8("n"), nv.u8(long)], [1, 2]);
});

Deno.test("Nv ignores what follows a zero type byte, the padding, and bit 7 of the type", () => {
  const good = new Nv().addU8("n", 7).encode();
  const ended = concat(good, new Uint8Array([0, 1, 2, 3]));
  assertEquals(Nv.decodePrefix(ended).entriesBytes, good.length);
  assertEquals(Nv.decode(ended).entries().length, 1);
  const dirty = good.slice();
  dirty.fill(0xaa, 8, 14); // Behind "n\0".
  dirty.fill(0xaa, 15); // Behind the one byte of data.
  dirty[0] = 0x82;
  assertEquals(Nv.decode(dirty).u8("n"), 7);
  assertEquals(Nv.decode(dirty).encode(), good);
  assertEquals(Nv.decode(new Uint8Array(0)).entries(), []);
});

Deno.test("Nv counts the first of two entries of a name, whatever their types", () => {
  const nv = Nv.decode(concat(entry(4, NAME, [1, 0]), entry(2, NAME, [2]), entry(4, NAME, [3, 0])));
  assertEquals(nv.u16("n"), 1);
  assertEquals(nv.u8("n"), undefined);
  assertEquals(nv.entries().length, 3);
});

Deno.test("Nv keeps no reference to the bytes that it decoded", () => {
  const bytes = new Nv().addU8Array("a", new Uint8Array([1])).encode();
  const nv = Nv.decode(bytes);
  bytes.fill(0);
  nv.u8Array("a")?.fill(9);
  assertEquals(nv.u8Array("a"), new Uint8Array([1]));
});

Deno.test("Nv bounds the count of entries", () => {
  const one = entry(2, NAME, [1]);
  const block = new Uint8Array((NV_ENTRIES_MAX + 1) * one.length);
  for (let at = 0; at < block.length; at += one.length) block.set(one, at);
  assertThrows(() => Nv.decode(block), ProtocolError, "more than");
  assertEquals(Nv.decode(block.subarray(one.length)).entries().length, NV_ENTRIES_MAX);
});

Deno.test("Nv.safeU64() and safeI64() reject what a number cannot hold", () => {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  const nv = new Nv().addU64("good", limit).addU64("bad", limit + 1n).addI64("minus", -1);
  assertEquals(nv.safeU64("good"), Number.MAX_SAFE_INTEGER);
  assertThrows(() => nv.safeU64("bad"), ProtocolError, '"bad"');
  assertThrows(() => nv.safeI64("minus"), ProtocolError, '"minus"');
});

Deno.test("Nv adders refuse what is a bug of the caller", () => {
  const bugs: (() => void)[] = [
    () => new Nv().addU8("n", 256),
    () => new Nv().addU8("n", -1),
    () => new Nv().addI8("n", 128),
    () => new Nv().addU64("n", -1),
    () => new Nv().addU64("n", 2n ** 64n),
    () => new Nv().addI64("n", 2n ** 63n),
    () => new Nv().addU8("", 1),
    () => new Nv().addU8("n".repeat(255), 1),
    () => new Nv().addU8("n\0", 1),
    () => new Nv().addU8("\u0100", 1),
    () => new Nv().addString("n", "a\0"),
    () => new Nv().addU8Array("n", new Uint8Array(0)),
    () => new Nv().addU8("n", 1).addU16("n", 1),
  ];
  for (const bug of bugs) assertThrows(bug, AssertionFailed, undefined, String(bug));
});

Deno.test("Nv.without() leaves out every entry of the name, and keeps the others as they are", () => {
  const block = concat(
    new Nv().addU8("a", 1).addU8("b", 2).encode(),
    new Nv().addString("a", "again").addU16("c", 3).encode(),
    new Nv().addU8("c", 4).encode(),
  );
  const nv = Nv.decode(block);
  assertEquals(nv.without("a").entries().map(({ name }) => name), ["b", "c", "c"]);
  assertEquals(nv.without("a").u16("c"), 3);
  assertEquals(nv.without("none").encode(), block);
  assertEquals(nv.u8("a"), 1, "the original is as it was");
});
