import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import {
  decodeFirstAnswer,
  decodeFirstRequest,
  decodeIdentity,
  decodeSecondAnswer,
  decodeSecondRequest,
  encodeFirstAnswer,
  encodeFirstRequest,
  encodeIdentity,
  encodeRefusal,
  encodeSecondAnswer,
  encodeSecondRefusal,
  encodeSecondRequest,
  type HandshakeIdentity,
  isSecondRequest,
  negotiateVersion,
  REQUEST_BYTES_DEFAULT,
  type SecondAnswer,
  TOKEN_BYTES,
} from "./handshake.ts";
import { Nv } from "./nv.ts";

const TOKEN = new Uint8Array(TOKEN_BYTES).map((_, index) => index + 1);
const IDENTITY: HandshakeIdentity = {
  virgin: true,
  resuid: 2n ** 64n - 1n,
  localcnt: 2n,
  remotecnt: 1n,
  requestBytesMax: 1024 * 1024,
};
const MAP = new Uint8Array(512).map((_, index) => index % 3);
const ANSWER: Omit<SecondAnswer, "kind"> = {
  datasizeBytes: 2 ** 50,
  extentsizeBytes: 2 ** 30,
  localcnt: 5n,
  remotecnt: 6n,
  virgin: true,
  syncSource: "secondary",
  map: MAP,
  requestBytesMax: 1024 * 1024,
  takesClaims: true,
};
const LIMITS = { bytesMin: 500, bytesMax: 1024 };
const PLAIN = { compression: "none", checksum: "none" } as const;

function names(nv: Nv): string[] {
  return nv.entries().map(({ name }) => name);
}

Deno.test("the first step round-trips", () => {
  const request = { resource: "data", version: 2, requestBytesMax: 1024 * 1024 };
  const header = encodeFirstRequest(request);
  assert(!isSecondRequest(header));
  assertEquals(decodeFirstRequest(header), request);
  const answer = { version: 2, token: TOKEN };
  assertEquals(decodeFirstAnswer(encodeFirstAnswer(answer)), { kind: "accepted", ...answer });
});

Deno.test("the second step round-trips", () => {
  const request = { resource: "data", token: TOKEN };
  for (const identity of [IDENTITY, { ...IDENTITY, virgin: false }]) {
    const header = encodeSecondRequest(request, identity);
    assert(isSecondRequest(header));
    assertEquals(decodeSecondRequest(header), request);
    assertEquals(decodeIdentity(header), identity);
    assertEquals(decodeIdentity(encodeIdentity(identity)), identity);
  }
});

Deno.test("a second step whose identity is sealed says no more than what it belongs to", () => {
  const header = encodeSecondRequest({ resource: "data", token: TOKEN });
  assertEquals(names(header), ["resource", "token"]);
});

Deno.test("the answer to step 2 round-trips, through every stage", () => {
  for (const compression of ["none", "hole", "lzf"] as const) {
    for (const checksum of ["none", "crc32", "sha256"] as const) {
      for (const map of [MAP, new Uint8Array(512), undefined]) {
        const answer = { ...ANSWER, map };
        const { header, data } = encodeSecondAnswer(answer, { compression, checksum });
        assertEquals(header.u32("size") ?? 0, data.length);
        assertEquals(decodeSecondAnswer(header, data, LIMITS), { kind: "accepted", ...answer });
      }
    }
  }
});

Deno.test("maxrequest goes unsaid where it is what the original takes", () => {
  const request = { resource: "data", version: 2, requestBytesMax: REQUEST_BYTES_DEFAULT };
  assertEquals(names(encodeFirstRequest(request)), ["resource", "version"]);
  assertEquals(decodeFirstRequest(encodeFirstRequest(request)), request);
});

Deno.test("a peer's maxrequest is kept within what makes sense", () => {
  const said = (bytes: number) =>
    decodeFirstRequest(new Nv().addString("resource", "d").addU32("maxrequest", bytes))
      .requestBytesMax;
  assertEquals(said(0), REQUEST_BYTES_DEFAULT);
  assertEquals(said(REQUEST_BYTES_DEFAULT + 512), REQUEST_BYTES_DEFAULT + 512);
  assertEquals(said(0xffffffff), 32 * 1024 * 1024);
});

Deno.test("refusals carry their words", () => {
  const refused = { kind: "refused" as const, message: "No.", wait: false };
  assertEquals(decodeFirstAnswer(encodeRefusal("No.")), refused);
  assertEquals(decodeFirstAnswer(encodeRefusal("No.", true)), { ...refused, wait: true });
  const nothing = new Uint8Array(0);
  assertEquals(decodeSecondAnswer(encodeSecondRefusal(ANSWER, "No."), nothing, LIMITS), refused);
  assertEquals(decodeSecondAnswer(encodeRefusal("No."), nothing, LIMITS), refused);
});

Deno.test("negotiateVersion() takes the smaller", () => {
  assertEquals([1, 2, 3, 255].map(negotiateVersion), [1, 2, 2, 2]);
});

/** `nv` without the entry of a name; only for the types of the handshake. */
function without(nv: Nv, missing: string): Nv {
  const rest = new Nv();
  for (const { name } of nv.entries()) {
    if (name === missing) continue;
    const text = nv.string(name);
    const long = nv.u64(name);
    const bytes = nv.u8Array(name);
    const size = nv.i64(name);
    if (text !== undefined) rest.addString(name, text);
    else if (long !== undefined) rest.addU64(name, long);
    else if (bytes !== undefined) rest.addU8Array(name, bytes);
    else if (size !== undefined) rest.addI64(name, size);
    else if (nv.i32(name) !== undefined) rest.addI32(name, nv.i32(name) ?? 0);
    else if (nv.u32(name) !== undefined) rest.addU32(name, nv.u32(name) ?? 0);
    else rest.addU8(name, nv.u8(name) ?? 1);
  }
  return rest;
}

Deno.test("every field that is needed is missed", () => {
  const second = encodeSecondRequest({ resource: "data", token: TOKEN }, IDENTITY);
  for (const field of ["resource", "token"]) {
    assertThrows(() => decodeSecondRequest(without(second, field)), ProtocolError, `'${field}'`);
  }
  for (const field of ["resuid", "localcnt", "remotecnt"]) {
    assertThrows(() => decodeIdentity(without(second, field)), ProtocolError, `'${field}'`);
  }
  const { header, data } = encodeSecondAnswer(ANSWER, PLAIN);
  for (const field of ["datasize", "extentsize", "localcnt", "remotecnt", "syncsrc"]) {
    const decode = () => decodeSecondAnswer(without(header, field), data, LIMITS);
    assertThrows(decode, ProtocolError, `'${field}'`);
  }
  const unmapped = decodeSecondAnswer(without(header, "mapsize"), data, LIMITS);
  assertEquals(unmapped.kind === "accepted" && unmapped.map, undefined);
});

Deno.test("decodeFirstAnswer() wants a token of 16 bytes and a version of ours", () => {
  for (const length of [1, 15, 17]) {
    const header = encodeFirstAnswer({ version: 2, token: new Uint8Array(length) });
    assertThrows(() => decodeFirstAnswer(header), ProtocolError, "token");
  }
  const newer = encodeFirstAnswer({ version: 3, token: TOKEN });
  assertThrows(() => decodeFirstAnswer(newer), ProtocolError, "version");
});

Deno.test("decodeSecondAnswer() bounds the map", () => {
  const { header, data } = encodeSecondAnswer(ANSWER, PLAIN);
  const decode = (bytesMin: number, bytesMax: number) => () =>
    decodeSecondAnswer(header, data, { bytesMin, bytesMax });
  assertThrows(decode(1, 511), ProtocolError, "512 bytes");
  assertThrows(decode(513, 1024), ProtocolError, "512 bytes");
  assertEquals(decode(512, 512)().kind, "accepted");
  const short = { ...ANSWER, map: undefined };
  const lying = encodeSecondAnswer(short, PLAIN).header;
  assertThrows(
    () =>
      decodeSecondAnswer(without(lying, "mapsize").addU32("mapsize", 512), data.slice(1), LIMITS),
    ProtocolError,
    "511 of 512",
  );
});

Deno.test("decodeSecondAnswer() bounds what a compressed map becomes", () => {
  const header = encodeSecondAnswer({ ...ANSWER, map: undefined }, PLAIN).header;
  const bomb = without(header, "mapsize").addU32("mapsize", 512).addString("compression", "hole");
  const raw = new Uint8Array([0, 0, 0, 0x80]);
  assertThrows(() => decodeSecondAnswer(bomb, raw, LIMITS), ProtocolError, "limit is 512");
});

Deno.test("decodeSecondAnswer() rejects a negative datasize and an unknown source", () => {
  const header = encodeSecondAnswer(ANSWER, PLAIN).header;
  const nothing = new Uint8Array(0);
  const negative = without(header, "datasize").addI64("datasize", -1);
  assertThrows(() => decodeSecondAnswer(negative, nothing, LIMITS), ProtocolError, "datasize");
  const third = without(header, "syncsrc").addU8("syncsrc", 3);
  assertThrows(() => decodeSecondAnswer(third, nothing, LIMITS), ProtocolError, "'syncsrc'");
});
