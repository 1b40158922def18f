import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import { LzfCompressor, lzfDecompress } from "./lzf.ts";

const compressor = new LzfCompressor();

function compress(source: Uint8Array, roomBytes = source.length * 2 + 16): Uint8Array {
  const target = new Uint8Array(roomBytes);
  return target.subarray(0, compressor.compress(source, target));
}

function assertRoundTrip(source: Uint8Array, message: string): Uint8Array {
  const compressed = compress(source);
  const target = new Uint8Array(source.length);
  assertEquals(lzfDecompress(compressed, target), source.length, message);
  assertEquals(target, source, message);
  return compressed;
}

/** Bytes that repeat themselves at random distances. */
function repetitive(random: Random, byteCount: number): Uint8Array {
  const bytes = random.bytes(Math.ceil(byteCount / 4) * 4).slice(0, byteCount);
  for (let at = 1; at < byteCount;) {
    const length = 1 + random.below(400);
    const distance = 1 + random.below(Math.min(at, 9000));
    if (random.below(3) > 0) {
      for (let index = 0; index < length && at + index < byteCount; index++) {
        bytes[at + index] = bytes[at + index - distance] ?? 0;
      }
    }
    at += length;
  }
  return bytes;
}

Deno.test("LZF round-trips every short length of three kinds of content", () => {
  const random = new Random(1);
  for (let length = 1; length < 700; length++) {
    assertRoundTrip(new Uint8Array(length), `${length} zeros`);
    assertRoundTrip(random.bytes(1024).subarray(0, length), `${length} random bytes`);
    assertRoundTrip(new Uint8Array(length).map((_, index) => index % 7), `${length} of a pattern`);
  }
});

Deno.test("LZF round-trips random repetitive content", () => {
  const seed = testSeed();
  const random = new Random(seed);
  let savedBytes = 0;
  for (let round = 0; round < 150; round++) {
    const source = repetitive(random, 1 + random.below(round % 10 === 0 ? 200_000 : 20_000));
    savedBytes += source.length - assertRoundTrip(source, `seed ${seed}, round ${round}`).length;
  }
  assert(savedBytes > 100_000, `${savedBytes}, seed ${seed}`);
});

Deno.test("LZF does not take matches of an earlier call", () => {
  const source = new Random(2).bytes(4096);
  const first = compress(source);
  assertEquals(compress(source), first);
});

Deno.test("LzfCompressor writes no byte past the room it is given, and says when it is too small", () => {
  const source = repetitive(new Random(3), 3000);
  const neededBytes = compress(source).length;
  for (let roomBytes = 0; roomBytes <= neededBytes + 1; roomBytes++) {
    const memory = new Uint8Array(roomBytes + 8).fill(0xee);
    const byteCount = compressor.compress(source, memory.subarray(0, roomBytes));
    if (roomBytes < neededBytes) assertEquals(byteCount, 0, `${roomBytes} bytes`);
    else assertEquals(byteCount, neededBytes);
    assertEquals(memory.subarray(roomBytes), new Uint8Array(8).fill(0xee));
  }
});

Deno.test("lzfDecompress() follows the format byte by byte", () => {
  const cases: [source: number[], output: string][] = [
    [[0, 97], "a"],
    [[31, ...new Array(32).fill(98)], "b".repeat(32)],
    [[0, 97, 1 << 5, 0], "aaaa"],
    [[2, 97, 98, 99, 2 << 5, 2], "abcabca"],
    [[0, 97, 6 << 5, 0], "a".repeat(9)],
    [[0, 97, 7 << 5, 0, 0], "a".repeat(10)],
    [[0, 97, 7 << 5, 255, 0], "a".repeat(265)],
  ];
  for (const [source, output] of cases) {
    const target = new Uint8Array(output.length);
    assertEquals(lzfDecompress(new Uint8Array(source), target), output.length);
    assertEquals(new TextDecoder().decode(target), output);
  }
});

Deno.test("lzfDecompress() copies from 8192 bytes back", () => {
  const literals = new Random(4).bytes(8192);
  const source: number[] = [];
  for (let at = 0; at < 8192; at += 32) source.push(31, ...literals.subarray(at, at + 32));
  source.push(1 << 5 | 31, 255);
  const target = new Uint8Array(8195);
  assertEquals(lzfDecompress(new Uint8Array(source), target), 8195);
  assertEquals(target.subarray(8192), literals.subarray(0, 3));
});

Deno.test("lzfDecompress() rejects malformed input", () => {
  const cases: [source: number[], roomBytes: number, reason: string][] = [
    [[1, 97], 10, "literals are cut off"],
    [[0], 10, "literals are cut off"],
    [[0, 97, 1 << 5], 10, "offset is cut off"],
    [[0, 97, 7 << 5], 300, "length is cut off"],
    [[0, 97, 7 << 5, 1], 300, "offset is cut off"],
    [[1 << 5, 0], 10, "before the output"],
    [[0, 97, 1 << 5, 1], 10, "before the output"],
    [[0, 97, 1 << 5 | 31, 255], 10, "before the output"],
    [[1, 97, 98], 1, "output is too long"],
    [[0, 97, 1 << 5, 0], 3, "output is too long"],
    [[0, 97, 7 << 5, 255, 0], 264, "output is too long"],
  ];
  for (const [source, roomBytes, reason] of cases) {
    const memory = new Uint8Array(roomBytes + 4).fill(0xee);
    const target = memory.subarray(0, roomBytes);
    assertThrows(() => lzfDecompress(new Uint8Array(source), target), ProtocolError, reason);
    assertEquals(memory.subarray(roomBytes), new Uint8Array(4).fill(0xee));
  }
});

Deno.test("lzfDecompress() stays within bounds whatever the input", () => {
  const seed = testSeed();
  const random = new Random(seed);
  let acceptedCount = 0;
  for (let round = 0; round < 5000; round++) {
    const source = random.bytes(4 * (1 + random.below(30)));
    if (round % 2 === 0) source[0] = random.below(8); // Else most start with a wrong copy.
    const roomBytes = random.below(2000);
    const memory = new Uint8Array(roomBytes + 300).fill(0xee);
    try {
      assert(lzfDecompress(source, memory.subarray(0, roomBytes)) <= roomBytes);
      acceptedCount++;
    } catch (error) {
      assert(error instanceof ProtocolError, `seed ${seed}: ${error}`);
    }
    assertEquals(memory.subarray(roomBytes), new Uint8Array(300).fill(0xee), `seed ${seed}`);
  }
  assert(acceptedCount > 0, `seed ${seed}`);
});
