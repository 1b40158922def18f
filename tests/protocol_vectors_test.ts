/**
 * Everything that the original wrote decodes to what its annotation says, and what we encode from
 * the same values has the same bytes, padding of names aside.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { ProtocolError } from "../base/errors.ts";
import {
  decodeRoleReply,
  decodeStatusReply,
  encodeControlError,
  encodeRoleReply,
  encodeStatusReply,
} from "../protocol/control_reply.ts";
import {
  CONTROL_ERROR,
  decodeControlRequest,
  encodeControlRequest,
} from "../protocol/control_request.ts";
import { encodeFrame, FrameReader, PROTOCOL_VERSION } from "../protocol/frame.ts";
import {
  decodeFirstAnswer,
  decodeFirstRequest,
  decodeIdentity,
  decodeSecondAnswer,
  decodeSecondRequest,
  encodeFirstAnswer,
  encodeFirstRequest,
  encodeRefusal,
  encodeSecondAnswer,
  encodeSecondRefusal,
  encodeSecondRequest,
  isSecondRequest,
} from "../protocol/handshake.ts";
import {
  decodeMetadata,
  encodeMetadata,
  layoutFor,
  METADATA_BYTES,
  MetadataError,
} from "../protocol/metadata.ts";
import { Nv } from "../protocol/nv.ts";
import {
  type Checksum,
  type Compression,
  decodePayload,
  encodePayload,
} from "../protocol/payload.ts";
import { decodeHex, encodeHex } from "./support/hex.ts";
import {
  annotate,
  annotations,
  at,
  findObjects,
  framesOf,
  type Json,
  listAt,
  loadVector,
  maskNamePadding,
  namedBlock,
  nvFrom,
  textAt,
  type VectorFrame,
} from "./support/vectors.ts";

const FRAME_FILES = [
  "handshake",
  "handshake_padding",
  "data_frames_fullsync",
  "data_frames_memsync",
  "sync",
  "protocol_misc",
  "protocol_errors",
] as const;

const MAP_LIMITS = { bytesMin: 1, bytesMax: 4096 };

function assertSameBlock(ours: Nv, theirs: Uint8Array, message: string): void {
  assertEquals(encodeHex(ours.encode()), encodeHex(maskNamePadding(theirs)), message);
}

for (const file of FRAME_FILES) {
  Deno.test(`vectors: every header of ${file}.json decodes and encodes`, () => {
    const frames = framesOf(file);
    assert(frames.length > 0, "the file has frames");
    for (const { path, block, annotations } of frames) {
      assertEquals(annotate(Nv.decode(block)), annotations, path);
      assertSameBlock(nvFrom(annotations), block, path);
      assertSameBlock(Nv.decode(block), block, path);
    }
  });
}

Deno.test("vectors: every frame with its data passes the frame reader", () => {
  let count = 0;
  for (const frame of FRAME_FILES.flatMap(framesOf)) {
    const { path, versionByte, block, data } = frame;
    const header = Nv.decode(block);
    if ((header.u32("size") ?? 0) !== (data?.length ?? 0)) continue; // Data only as a hash.
    if (versionByte > PROTOCOL_VERSION) continue;
    const bytes = encodeFrame(versionByte, header, data);
    const reader = new FrameReader();
    reader.push(bytes);
    const read = reader.next();
    assertEquals(read?.version, versionByte, path);
    assertEquals(annotate(read?.header ?? new Nv()), frame.annotations, path);
    assertEquals(read?.data, data ?? new Uint8Array(0), path);
    reader.end();
    count++;
  }
  assert(count > 500, `${count} frames`);
});

// Handshake.

/** Decodes a message of the handshake and encodes it from what was decoded. */
function reencodeHandshake(frame: VectorFrame): { header: Nv; data?: Uint8Array } | undefined {
  const header = Nv.decode(frame.block);
  const version = header.u8("version");
  if (header.has("resource")) {
    if (version !== undefined) return { header: encodeFirstRequest(decodeFirstRequest(header)) };
    if (!isSecondRequest(header)) return undefined; // Without a version: tested below.
    if (!header.has("resuid")) return undefined; // A script's, with the token alone.
    return { header: encodeSecondRequest(decodeSecondRequest(header), decodeIdentity(header)) };
  }
  if (header.has("datasize")) return reencodeSecondAnswer(header, frame.data);
  const isAnswer = header.has("token") && (version === 1 || version === 2);
  if (!isAnswer && !header.has("errmsg")) return undefined;
  const answer = decodeFirstAnswer(header);
  if (answer.kind === "accepted") return { header: encodeFirstAnswer(answer) };
  return { header: encodeRefusal(answer.message, answer.wait) };
}

function reencodeSecondAnswer(
  header: Nv,
  data: Uint8Array = new Uint8Array(0),
): { header: Nv; data?: Uint8Array } {
  const answer = decodeSecondAnswer(header, data, MAP_LIMITS);
  if (answer.kind === "accepted") {
    const compression = header.has("compression") ? "hole" : "none";
    return encodeSecondAnswer(answer, { compression, checksum: "none" });
  }
  const state = {
    datasizeBytes: Number(header.i64("datasize")),
    extentsizeBytes: header.i32("extentsize") ?? 0,
    localcnt: header.u64("localcnt") ?? 0n,
    remotecnt: header.u64("remotecnt") ?? 0n,
  };
  return { header: encodeSecondRefusal(state, answer.message) };
}

for (const file of FRAME_FILES.filter((name) => !name.startsWith("data_frames"))) {
  Deno.test(`vectors: handshakes of ${file}.json decode and encode`, () => {
    let count = 0;
    for (const frame of framesOf(file)) {
      const again = reencodeHandshake(frame);
      if (again === undefined) continue;
      assertSameBlock(again.header, frame.block, frame.path);
      if (frame.data !== undefined) assertEquals(again.data, frame.data, frame.path);
      count++;
    }
    assert(count >= 4, `${count} messages`);
  });
}

/** The header of the frame at an index of an entry of a file. */
function headerAt(file: string, entry: string, index: number): Nv {
  const hex = textAt(loadVector(file), entry, "frames", index, "header_hex");
  return Nv.decode(decodeHex(hex.slice(10)));
}

Deno.test("vectors: versions of the first step are negotiated as by the original", () => {
  const request = (entry: string) => decodeFirstRequest(headerAt("protocol_errors", entry, 0));
  assertEquals(request("no_version_field").version, 1);
  assertEquals(request("version_1").version, 1);
  assertEquals(request("version_3").version, 3);
  assertThrows(() => request("no_resource_field"), ProtocolError, "'resource'");
  const answer = (entry: string) => decodeFirstAnswer(headerAt("protocol_misc", entry, 1));
  const version = (entry: string) => {
    const decoded = answer(entry);
    return decoded.kind === "accepted" ? decoded.version : undefined;
  };
  assertEquals(version("secondary_version_1"), 1);
  assertEquals(version("secondary_without_version"), 1);
  assertThrows(() => answer("secondary_version_3"), ProtocolError, "version");
  assertThrows(() => answer("secondary_without_token"), ProtocolError, "'token'");
});

// Payload stages.

interface Combination {
  checksum: Checksum;
  compression: Compression;
  operations: Json[];
}

function combinations(): Combination[] {
  const files = ["data_frames_fullsync", "data_frames_memsync"];
  return files.flatMap((file) => listAt(loadVector(file), "combinations")).map((json) => {
    const checksum = textAt(json, "checksum");
    const compression = textAt(json, "compression");
    assert(checksum === "none" || checksum === "crc32" || checksum === "sha256");
    assert(compression === "none" || compression === "hole" || compression === "lzf");
    return { checksum, compression, operations: listAt(json, "operations") };
  });
}

/** The WRITE frames of a combination, each with the block that was written. */
function writes(combination: Combination): { what: string; frame: Json; block: Uint8Array }[] {
  const { operations, checksum, compression } = combination;
  return operations.flatMap((operation) => {
    const what = textAt(operation, "operation");
    const name = /^WRITE (\w+) at/.exec(what)?.[1];
    if (name === undefined) return [];
    const frame = at(operation, "frames", 0);
    assert(frame !== undefined);
    return [{ what: `${checksum}, ${compression}: ${what}`, frame, block: namedBlock(name) }];
  });
}

Deno.test("vectors: the named blocks are those that were written", () => {
  const sums = Object.entries(at(loadVector("blocks"), "sha256") ?? {});
  assert(sums.length >= 12);
  for (const [name, sum] of sums) {
    assertEquals(createHash("sha256").update(namedBlock(name)).digest("hex"), sum, name);
  }
});

Deno.test("vectors: data of every write comes out of the stages as the block written", () => {
  let count = 0;
  for (const { what, frame, block } of combinations().flatMap(writes)) {
    const header = Nv.decode(decodeHex(textAt(frame, "header_hex").slice(10)));
    const hex = at(frame, "data_hex");
    if (typeof hex !== "string" && header.has("compression")) continue; // Data only as a hash.
    const raw = typeof hex === "string" ? decodeHex(hex) : block;
    assertEquals(decodePayload(header, raw, block.length), block, what);
    count++;
  }
  assert(count > 70, `${count} writes`);
});

Deno.test("vectors: the stages send every written block as the original did", () => {
  for (const combination of combinations()) {
    for (const { what, frame, block } of writes(combination)) {
      const theirs = Nv.decode(decodeHex(textAt(frame, "header_hex").slice(10)));
      const ours = nvFrom(
        annotate(theirs).filter(([name]) =>
          !["compression", "checksum", "hash", "size"].includes(name)
        ),
      );
      const sent = encodePayload(ours, block, combination);
      assertEquals(ours.string("compression"), theirs.string("compression"), what);
      assertEquals(decodePayload(ours, sent, block.length), block, what);
      if (theirs.string("compression") === "lzf") continue; // Same meaning, other bytes.
      assertSameBlock(ours, theirs.encode(), what);
      const sum = createHash("sha256").update(sent).digest("hex");
      assertEquals(sum, textAt(frame, "data_sha256"), what);
    }
  }
});

// Control socket.

function controlExchanges(): { what: string; request: Nv; reply: Nv | undefined; json: Json }[] {
  const file = loadVector("control");
  const all = [...listAt(file, "hastctl"), ...listAt(file, "raw_requests")];
  return all.filter((json) => (textOr(json, "request_hex")).length > 10).map((json) => {
    const replyHex = textOr(json, "reply_hex");
    const request = Nv.decode(decodeHex(textAt(json, "request_hex").slice(10)));
    const reply = replyHex === "" ? undefined : Nv.decode(decodeHex(replyHex.slice(10)));
    return { what: textAt(json, "what"), request, reply, json };
  });
}

function textOr(json: Json, key: string): string {
  const value = at(json, key);
  return typeof value === "string" ? value : "";
}

Deno.test("vectors: control messages are annotated rightly", () => {
  for (const { what, request, reply, json } of controlExchanges()) {
    assertEquals(annotate(request), annotations(listAt(json, "request")), what);
    if (reply !== undefined) {
      assertEquals(annotate(reply), annotations(listAt(json, "reply")), what);
    }
  }
});

Deno.test("vectors: control requests of hastctl encode to the same bytes", () => {
  const exchanges = controlExchanges().filter(({ json }) => at(json, "argv") !== undefined);
  assert(exchanges.length >= 20);
  for (const { what, request, json } of exchanges) {
    const decoded = decodeControlRequest(request);
    assert(decoded.command !== "refused", what);
    if (what.startsWith("all first with another name")) {
      assert("resources" in decoded);
      assertEquals(decoded.resources, "all"); // The first decides; the rest is forgotten.
      continue;
    }
    const frame = encodeFrame(PROTOCOL_VERSION, encodeControlRequest(decoded));
    assertEquals(encodeHex(frame), textAt(json, "request_hex"), what);
  }
});

Deno.test("vectors: control replies encode to the same bytes", () => {
  let count = 0;
  for (const { what, request, reply, json } of controlExchanges()) {
    if (reply === undefined) continue;
    const encoded = request.u8("cmd") === 1
      ? encodeRoleReply(decodeRoleReply(reply))
      : encodeStatusReply(decodeStatusReply(reply));
    const frame = encodeFrame(PROTOCOL_VERSION, encoded);
    assertEquals(encodeHex(frame), textAt(json, "reply_hex"), what);
    count++;
  }
  assert(count >= 25, `${count} replies`);
});

Deno.test("vectors: bad control requests are refused as by the original", () => {
  let count = 0;
  for (const { what, request, reply, json } of controlExchanges()) {
    const decoded = decodeControlRequest(request);
    if (decoded.command !== "refused") continue;
    const answer = decoded.error === undefined ? undefined : encodeControlError(decoded.error);
    assertEquals(answer?.encode(), reply?.encode(), what);
    assertEquals(`[ERROR] ${decoded.message}\n`, textAt(json, "log"), what);
    count++;
  }
  assertEquals(count, 6);
  assertEquals(CONTROL_ERROR.unimplemented, 4);
});

// Metadata.

interface RecordedMetadata {
  path: string;
  hex: string;
  nv: Json[];
}

/** Every metadata block of all files. */
function recordedMetadata(): RecordedMetadata[] {
  const found: RecordedMetadata[] = [];
  for (const file of ["handshake", "handshake_padding", "metadata_create", "activemap"]) {
    for (const { path, value } of findObjects(loadVector(file), () => true)) {
      for (
        const [hexKey, nvKey] of [
          ["bytes_4096_hex_without_trailing_zeros", "nv"],
          ["metadata_a_hex", "metadata_a"],
          ["metadata_b_hex", "metadata_b"],
        ] as const
      ) {
        const hex = at(value, hexKey);
        if (typeof hex === "string") found.push({ path, hex, nv: listAt(value, nvKey) });
      }
      const sector = at(value, "first_64k_nonzero_sectors_hex", "0");
      if (typeof sector === "string") found.push({ path, hex: sector, nv: listAt(value, "nv") });
    }
  }
  return found;
}

Deno.test("vectors: metadata blocks decode, and encode to the same entries", () => {
  let count = 0;
  for (const { path, hex, nv } of recordedMetadata()) {
    const block = new Uint8Array(METADATA_BYTES);
    block.set(decodeHex(hex));
    const expected = annotations(nv);
    const { nv: decoded, entriesBytes } = Nv.decodePrefix(block);
    assertEquals(annotate(decoded), expected, path);
    const datasize = decoded.u64("datasize") ?? 0n;
    if (datasize === 0n || datasize > 2n ** 53n) {
      assertThrows(() => decodeMetadata(block), MetadataError, "damaged", path);
      continue;
    }
    const metadata = decodeMetadata(block);
    assertEquals(Object.values(metadata).map(String), expected.map(([, , value]) => value), path);
    const encoded = encodeMetadata(metadata);
    const theirs = maskNamePadding(block.subarray(0, entriesBytes));
    assertEquals(encodeHex(encoded.subarray(0, entriesBytes)), encodeHex(theirs), path);
    assertEquals(decodeMetadata(encoded), metadata, path);
    count++;
  }
  assert(count > 60, `${count} blocks`);
});

/** The argument of an option, in bytes; undefined where there is none or no number. */
function optionBytes(argv: Json[], option: string): number | undefined {
  const index = argv.indexOf(option);
  const match = /^(0x[0-9a-f]+|\d+)([kKmM]?)/.exec(String(index < 0 ? "" : argv[index + 1]));
  if (match === null) return undefined;
  const unit = { k: 1024, m: 1024 * 1024 }[match[2]?.toLowerCase() ?? ""] ?? 1;
  return Number(match[1]) * unit;
}

Deno.test("vectors: components get the layout that the original's hastctl create gives", () => {
  let count = 0;
  for (const json of listAt(loadVector("metadata_create"), "cases")) {
    const what = textAt(json, "what");
    const argv = listAt(json, "argv");
    if (at(json, "exit_code") === 64) continue; // An argument that is no number.
    const mediasizeBytes = optionBytes(argv, "-m") ?? Number(at(json, "file_size"));
    const extentsizeBytes = optionBytes(argv, "-e") || 2 * 1024 * 1024;
    const layout = () => layoutFor(mediasizeBytes, extentsizeBytes, 512);
    const message = /\] (Extent size .*)\n/.exec(textAt(json, "stderr"))?.[1];
    const nv = at(json, "nv");
    if (message !== undefined) {
      assertThrows(layout, Error, message);
    } else if (!Array.isArray(nv) || mediasizeBytes < 5120) {
      assertThrows(layout, Error, undefined, what); // The original aborts, or makes nonsense.
    } else {
      const fields = nvFrom(annotations(nv));
      assertEquals(layout().datasizeBytes, fields.safeU64("datasize"), what);
      assertEquals(layout().dataOffsetBytes, fields.safeU64("offset"), what);
      count++;
    }
  }
  assert(count >= 14, `${count} layouts`);
});
