import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import { decodeHex, encodeHex } from "../tests/support/hex.ts";
import { Random, testSeed } from "../tests/support/random.ts";
import {
  type Annotation,
  annotations,
  at,
  findObjects,
  type Json,
  loadVector,
  textAt,
} from "../tests/support/vectors.ts";
import {
  encodeKeepalive,
  encodeReply,
  encodeRequest,
  IO_HEADER_BYTES_MAX,
  IO_HEADER_TAKEN_BYTES_MAX,
  type IoHeader,
  IoHeaderDecoder,
  requestFault,
  type SentPayload,
} from "./io_message.ts";
import { DATA_BYTES_MAX, encodeFrame } from "./frame.ts";
import { Nv } from "./nv.ts";

/** A frame of a request or a reply that the original has written. */
interface Golden {
  path: string;
  header: Uint8Array;
  fields: Map<string, string>;
  data: Uint8Array | undefined;
}

function isIoFrame(json: Json): boolean {
  const entries = at(json, "nv");
  if (!Array.isArray(entries) || at(json, "header_hex") === undefined) return false;
  const first = annotations(entries)[0]?.[0];
  return first === "cmd" || first === "seq";
}

function goldenFrames(): Golden[] {
  const names = ["data_frames_fullsync", "data_frames_memsync", "protocol_misc", "sync"];
  return names.flatMap((name) =>
    findObjects(loadVector(name), isIoFrame, name).map(({ path, value }) => {
      const entries: Annotation[] = annotations(at(value, "nv") ?? null);
      const data = at(value, "data_hex");
      return {
        path,
        header: decodeHex(textAt(value, "header_hex")),
        fields: new Map(entries.map(([name, , text]) => [name, text])),
        data: typeof data === "string" ? decodeHex(data) : blockData(value),
      };
    })
  );
}

const blocks = loadVector("blocks");

function blockData(frame: Json): Uint8Array | undefined {
  const name = String(at(frame, "data_is_block"));
  const zeros = /^zero_(\d+)$/.exec(name);
  if (zeros !== null) return new Uint8Array(Number(zeros[1]));
  const hex = at(blocks, "hex_up_to_4096", name);
  return typeof hex === "string" ? decodeHex(hex) : undefined;
}

function payloadOf({ fields, data }: Golden): SentPayload | undefined {
  if (!fields.has("size")) return undefined;
  if (data === undefined) throw new Error("The data is not known");
  const compression = fields.get("compression");
  const checksum = fields.get("checksum");
  return {
    compression: compression === "hole" || compression === "lzf" ? compression : undefined,
    checksum: checksum === "crc32" || checksum === "sha256" ? checksum : "none",
    sizeBytes: data.length,
    data,
  };
}

/** Encodes into memory that is not zero, at an odd place. */
function encoded(encode: (target: Uint8Array, at: number) => number): Uint8Array {
  const target = new Uint8Array(IO_HEADER_BYTES_MAX + 3).fill(0xee);
  const byteCount = encode(target, 3);
  assert(byteCount <= IO_HEADER_BYTES_MAX);
  return target.slice(3, 3 + byteCount);
}

function encodeGolden(golden: Golden): Uint8Array {
  const { fields, header } = golden;
  const version = header[0] ?? 0;
  const number = (name: string) => Number(fields.get(name));
  const payload = payloadOf(golden);
  if (fields.get("cmd") === "5") return encoded((bytes, at) => encodeKeepalive(bytes, at, version));
  if (fields.has("cmd")) {
    const request = {
      command: number("cmd"),
      seq: number("seq"),
      offsetBytes: number("offset"),
      lengthBytes: number("length"),
      memsync: fields.has("memsync"),
    };
    return encoded((bytes, at) => encodeRequest(bytes, at, version, request, payload));
  }
  const reply = { seqLow: number("seq"), seqHigh: 0 };
  const errno = fields.has("error") ? number("error") : 0;
  return encoded((bytes, at) =>
    encodeReply(bytes, at, version, reply, fields.has("received"), errno, payload)
  );
}

function assertMeans(header: IoHeader, fields: Map<string, string>): void {
  const number = (name: string, absent: number) => Number(fields.get(name) ?? absent);
  assertEquals(header.command, number("cmd", 0));
  assertEquals(header.seq, number("seq", 0));
  assertEquals(header.offsetBytes, number("offset", -1));
  assertEquals(header.lengthBytes, number("length", -1));
  assertEquals(header.memsync, fields.has("memsync"));
  assertEquals(header.received, fields.has("received"));
  assertEquals(header.errno, number("error", 0));
  assertEquals(header.compression, fields.get("compression"));
  assertEquals(header.checksum, fields.get("checksum"));
  assertEquals(header.hash && encodeHex(header.hash), fields.get("hash"));
  assertEquals(header.sizeBytes, number("size", 0));
}

Deno.test("the decoder reads every frame of the original as annotated", () => {
  const decoder = new IoHeaderDecoder();
  const frames = goldenFrames();
  assert(frames.length > 150, `only ${frames.length} frames`);
  for (const { header, fields } of frames) {
    assertEquals(decoder.decode(header, 0, header.length), header.length);
    assertEquals(decoder.header.version, header[0]);
    assertMeans(decoder.header, fields);
  }
});

Deno.test("the encoders write the bytes of the original, padding zero", () => {
  let comparedCount = 0;
  for (const golden of goldenFrames()) {
    const known = !golden.fields.has("size") || golden.data !== undefined;
    if (!known) continue;
    assertEquals(encodeHex(encodeGolden(golden)), encodeHex(golden.header), golden.path);
    comparedCount++;
  }
  assert(comparedCount > 120, `only ${comparedCount} frames`);
});

Deno.test("decode() asks for more at every place where a header may be cut", () => {
  const decoder = new IoHeaderDecoder();
  const [frame] = goldenFrames().filter(({ fields }) => fields.has("hash"));
  assert(frame !== undefined);
  const { header, fields } = frame;
  for (let end = 0; end < header.length; end++) assertEquals(decoder.decode(header, 0, end), 0);
  const more = new Uint8Array([1, 2, 3, ...header, 4, 5]);
  assertEquals(decoder.decode(more, 3, more.length), header.length);
  assertMeans(decoder.header, fields);
});

/** Everything that a header says, as text; or the message of the error. */
function reading(read: (decoder: IoHeaderDecoder) => void): string {
  const decoder = new IoHeaderDecoder();
  try {
    read(decoder);
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
  const { hash, ...rest } = decoder.header;
  return JSON.stringify({ ...rest, hash: hash && encodeHex(hash), version: 0 });
}

Deno.test("the short way and the general one agree on frames with random damage", () => {
  const seed = testSeed();
  const random = new Random(seed);
  const frames = goldenFrames();
  for (let round = 0; round < 20_000; round++) {
    const golden = frames[random.below(frames.length)]?.header ?? new Uint8Array();
    const bytes = golden.slice();
    for (let count = random.below(3); count >= 0; count--) {
      bytes[5 + random.below(bytes.length - 5)] = random.below(4) === 0 ? 0 : random.below(256);
    }
    const tooMuchData = "of data: the limit is";
    const short = reading((decoder) => decoder.decode(bytes, 0, bytes.length));
    const general = reading((decoder) => decoder.decodeAny(bytes.subarray(5)));
    if (!short.includes(tooMuchData)) {
      assertEquals(short, general, `HAST_TEST_SEED=${seed} ${encodeHex(bytes)}`);
    }
  }
});

Deno.test("memsync is asked for by the field, whatever its value", () => {
  const decoder = new IoHeaderDecoder();
  for (const nv of [new Nv().addU8("memsync", 0), new Nv().addU8("memsync", 0).addU8("news", 1)]) {
    const frame = encodeFrame(2, nv);
    assertEquals(decoder.decode(frame, 0, frame.length), frame.length);
    assertEquals(decoder.header.memsync, true);
  }
});

Deno.test("fields in another order, unknown ones and wrong types are read like any block", () => {
  const decoder = new IoHeaderDecoder();
  const nv = new Nv().addU64("length", 512).addString("news", "x").addU64("seq", 2n ** 40n + 7n)
    .addU8("cmd", 1).addI64("offset", 5);
  const frame = encodeFrame(2, nv);
  assertEquals(decoder.decode(frame, 0, frame.length), frame.length);
  const { command, seqLow, seqHigh, offsetBytes, lengthBytes } = decoder.header;
  assertEquals({ command, seqLow, seqHigh }, { command: 1, seqLow: 7, seqHigh: 256 });
  assertEquals({ offsetBytes, lengthBytes }, { offsetBytes: -1, lengthBytes: 512 });
});

Deno.test("decode() rejects what is over a limit or malformed", () => {
  const cases: [string, Uint8Array][] = [
    ["version 3", new Uint8Array([3, 22, 0, 0, 0])],
    ["of 0 bytes", new Uint8Array([2, 0, 0, 0, 0])],
    [`of ${IO_HEADER_TAKEN_BYTES_MAX + 1} bytes`, new Uint8Array([2, 1, 0x40, 0, 0])],
    ["4294967295 bytes", new Uint8Array([2, 255, 255, 255, 255])],
    ["unknown type", new Uint8Array([2, 8, 0, 0, 0, 99, 2, 1, 0, 0, 0, 0, 0])],
  ];
  for (const [text, bytes] of cases) {
    assertThrows(() => new IoHeaderDecoder().decode(bytes, 0, bytes.length), ProtocolError, text);
  }
  const sized = encodeFrame(2, new Nv().addU64("seq", 1).addU32("size", 0));
  new DataView(sized.buffer).setUint32(sized.length - 8, DATA_BYTES_MAX + 1, true);
  const decoder = new IoHeaderDecoder();
  assertThrows(() => decoder.decode(sized, 0, sized.length), ProtocolError, "of data");
});

Deno.test("requestFault() names what the original would", () => {
  const limits = { datasizeBytes: 16772608, sectorSizeBytes: 512 };
  const check = (nv: Nv) => {
    const frame = encodeFrame(2, nv);
    const decoder = new IoHeaderDecoder();
    decoder.decode(frame, 0, frame.length);
    return requestFault(decoder.header, limits);
  };
  const ask = (command: number, offset: bigint | number, length: bigint | number) =>
    check(
      new Nv().addU8("cmd", command).addU64("seq", 1).addU64("offset", offset)
        .addU64("length", length),
    );
  assertEquals(ask(1, 0, 512), undefined);
  assertEquals(ask(2, 16772608 - 512, 512), undefined);
  assertEquals(ask(3, 0, 16772608), undefined);
  assertEquals(ask(4, 0, 0), undefined);
  assertEquals(ask(1, 100, 512), "Offset 100 is not multiple of sector size.");
  assertEquals(ask(1, 0, 100), "Length 100 is not multiple of sector size.");
  assertEquals(ask(1, 0, 0), "Data length is zero.");
  assertEquals(ask(3, 0, 0), "Data length is zero.");
  assertEquals(
    ask(2, 0, 33554432 + 512),
    "Data length is too large (33554944 > 33554432).",
  );
  assertEquals(ask(1, 16772608, 512), "Data offset is too large (16773120 > 16772608).");
  for (const offset of [2n ** 63n, 2n ** 64n - 512n]) {
    assert(ask(3, offset, 512)?.startsWith("Data offset is too large"));
    assert(ask(3, 512, offset)?.startsWith("Data offset is too large"));
  }
  assertEquals(ask(9, 0, 512), "Header contains invalid 'cmd' (9).");
  const noCommand = new Nv().addU64("seq", 1).addU64("offset", 0).addU64("length", 512);
  assertEquals(check(noCommand), "Header contains no 'cmd' field.");
  const noSeq = new Nv().addU8("cmd", 1).addU64("offset", 0).addU64("length", 512);
  assertEquals(check(noSeq), "Header contains no 'seq' field.");
  const noOffset = new Nv().addU8("cmd", 1).addU64("seq", 1).addU64("length", 512);
  assertEquals(check(noOffset), "Header is missing 'offset' field.");
  const noLength = new Nv().addU8("cmd", 1).addU64("seq", 1).addU64("offset", 0);
  assertEquals(check(noLength), "Header is missing 'length' field.");
});
