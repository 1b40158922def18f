import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailed, ProtocolError } from "../base/errors.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import {
  DATA_BYTES_MAX,
  decodeFramePrefix,
  encodeFrame,
  type Frame,
  FrameReader,
  HEADER_BYTES_MAX,
} from "./frame.ts";
import { Nv } from "./nv.ts";

const DATA = new Uint8Array([1, 2, 3, 4, 5]);

function withData(data: Uint8Array): Uint8Array<ArrayBuffer> {
  return encodeFrame(2, new Nv().addU8("cmd", 2).addU32("size", data.length), data);
}

/** Two frames, the first with data. */
function sample(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([...withData(DATA), ...encodeFrame(1, new Nv().addU8("cmd", 5))]);
}

function readAll(reader: FrameReader): Frame[] {
  const frames: Frame[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next()) frames.push(frame);
  return frames;
}

function assertSample(frames: Frame[], message: string): void {
  assertEquals(frames.map(({ version }) => version), [2, 1], message);
  assertEquals(frames.map(({ header }) => header.u8("cmd")), [2, 5], message);
  assertEquals(frames.map(({ data }) => data), [DATA, new Uint8Array(0)], message);
}

Deno.test("encodeFrame() writes version, header size, header, data", () => {
  const bytes = encodeFrame(2, new Nv().addU8("n", 7));
  assertEquals(
    bytes,
    new Uint8Array([
      2,
      22,
      0,
      0,
      0,
      2,
      2,
      1,
      0,
      0,
      0,
      0x6e,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      7,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
    ]),
  );
  assertEquals(withData(DATA).subarray(-5), DATA);
});

Deno.test("encodeFrame() refuses what is a bug of the caller", () => {
  const header = () => new Nv().addU8("n", 1);
  assertThrows(() => encodeFrame(2, header(), DATA), AssertionFailed);
  assertThrows(() => encodeFrame(2, header().addU32("size", 4), DATA), AssertionFailed);
  assertThrows(() => encodeFrame(2, header().addU32("size", 4)), AssertionFailed);
  assertThrows(() => encodeFrame(3, header()), AssertionFailed);
  assertThrows(() => encodeFrame(2, new Nv()), AssertionFailed);
});

Deno.test("FrameReader takes every split into three chunks", () => {
  const bytes = sample();
  for (let first = 0; first <= bytes.length; first++) {
    for (let second = first; second <= bytes.length; second++) {
      const reader = new FrameReader();
      const frames: Frame[] = [];
      for (const [from, to] of [[0, first], [first, second], [second, bytes.length]] as const) {
        reader.push(bytes.subarray(from, to));
        frames.push(...readAll(reader));
      }
      assertSample(frames, `split at ${first} and ${second}`);
      assertEquals(reader.pendingBytes, 0);
      reader.end();
    }
  }
});

Deno.test("FrameReader takes single bytes, and chunks that are reused", () => {
  const reader = new FrameReader();
  const chunk = new Uint8Array(1);
  const frames: Frame[] = [];
  for (const byte of sample()) {
    chunk[0] = byte;
    reader.push(chunk);
    frames.push(...readAll(reader));
  }
  assertSample(frames, "single bytes");
});

Deno.test("FrameReader.end() tells every truncation", () => {
  const bytes = sample();
  const firstBytes = withData(DATA).length;
  for (let length = 0; length < bytes.length; length++) {
    const reader = new FrameReader();
    reader.push(bytes.subarray(0, length));
    assertEquals(readAll(reader).length, length < firstBytes ? 0 : 1, `${length} bytes`);
    if (length === 0 || length === firstBytes) reader.end();
    else assertThrows(() => reader.end(), ProtocolError, "within a frame", `${length} bytes`);
  }
});

Deno.test("FrameReader reads a long stream in random chunks", () => {
  const seed = testSeed();
  const random = new Random(seed);
  const sizes = Array.from({ length: 60 }, () => 4 * random.below(random.below(10) ? 300 : 60_000));
  const sent = sizes.map((size) => random.bytes(size));
  const stream = new Uint8Array(sent.flatMap((data) => [...withData(data)]));
  const reader = new FrameReader();
  const received: Uint8Array[] = [];
  for (let at = 0; at < stream.length;) {
    const length = 1 + random.below(random.below(4) === 0 ? 200_000 : 2_000);
    reader.push(stream.subarray(at, at + length));
    at += length;
    received.push(...readAll(reader).map(({ data }) => data));
  }
  reader.end();
  assert(received.length === sent.length, `seed ${seed}`);
  received.forEach((data, index) => assertEquals(data, sent[index], `seed ${seed}, ${index}`));
});

Deno.test("decodeFramePrefix() rejects newer versions, empty and oversized headers", () => {
  const prefix = (version: number, size: number) =>
    new Uint8Array([version, ...new Uint8Array(new Uint32Array([size]).buffer)]);
  assertEquals(decodeFramePrefix(prefix(0, 22)), { version: 0, headerBytes: 22 });
  assertEquals(decodeFramePrefix(prefix(2, HEADER_BYTES_MAX)).headerBytes, HEADER_BYTES_MAX);
  assertThrows(() => decodeFramePrefix(prefix(3, 22)), ProtocolError, "version 3");
  assertThrows(() => decodeFramePrefix(prefix(255, 22)), ProtocolError, "version 255");
  assertThrows(() => decodeFramePrefix(prefix(2, 0)), ProtocolError, "empty header");
  assertThrows(() => decodeFramePrefix(prefix(2, HEADER_BYTES_MAX + 1)), ProtocolError, "limit");
  assertThrows(() => decodeFramePrefix(prefix(2, 0xffffffff)), ProtocolError, "4294967295");
});

Deno.test("FrameReader rejects an announced size at once, and for good", () => {
  const reader = new FrameReader({ headerBytesMax: 100 });
  reader.push(new Uint8Array([2, 101, 0, 0]));
  assertEquals(reader.next(), undefined);
  reader.push(new Uint8Array([0]));
  assertThrows(() => reader.next(), ProtocolError, "limit is 100");
  reader.push(sample());
  assertThrows(() => reader.next(), ProtocolError, "limit is 100");
  assertThrows(() => reader.end(), ProtocolError, "limit is 100");
  assertEquals(reader.pendingBytes, 5);
});

/** A frame that announces data and brings none. */
function announcing(dataBytes: number): Uint8Array {
  const header = new Nv().addU32("size", dataBytes).encode();
  return new Uint8Array([2, header.length, 0, 0, 0, ...header]);
}

Deno.test("FrameReader rejects data over its limit before any arrives", () => {
  for (const [limits, dataBytes] of [[{ dataBytesMax: 4 }, 5], [{}, DATA_BYTES_MAX + 1]] as const) {
    const reader = new FrameReader(limits);
    reader.push(announcing(dataBytes));
    assertThrows(() => reader.next(), ProtocolError, "bytes of data: the limit is");
  }
  const allowed = new FrameReader();
  allowed.push(announcing(DATA_BYTES_MAX));
  assertEquals(allowed.next(), undefined);
  assertThrows(() => allowed.end(), ProtocolError, "within a frame");
});

Deno.test("FrameReader allocates for what arrives, not for what is announced", () => {
  const before = Deno.memoryUsage().external;
  const readers = Array.from({ length: 50 }, () => {
    const reader = new FrameReader();
    reader.push(announcing(DATA_BYTES_MAX)); // 1.6 GiB in all.
    assertEquals(reader.next(), undefined);
    return reader;
  });
  assert(Deno.memoryUsage().external - before < DATA_BYTES_MAX);
  assertEquals(readers.length, 50);
});

Deno.test("FrameReader rejects a malformed header", () => {
  const reader = new FrameReader();
  reader.push(new Uint8Array([2, 8, 0, 0, 0, 99, 2, 1, 0, 0, 0, 0x6e, 0]));
  assertThrows(() => reader.next(), ProtocolError, "unknown type 99");
});
