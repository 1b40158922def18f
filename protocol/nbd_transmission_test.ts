import { assertEquals } from "@std/assert";
import {
  blockStatusChunkBytes,
  decodeRequest,
  encodeBlockStatusChunk,
  encodeErrorChunk,
  encodeErrorOffsetChunk,
  encodeNoneChunk,
  encodeOffsetDataHeader,
  encodeSimpleReply,
  NBD_ERROR_OFFSET_BYTES,
  NBD_OFFSET_DATA_BYTES,
  NBD_REQUEST_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
  NbdRequestHeader,
} from "./nbd_transmission.ts";

const COOKIE = { cookieHigh: 0x01020304, cookieLow: 0xf5f6f7f8 };

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
  const digits = hex.replaceAll(/\s/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, index) => parseInt(digits.slice(index * 2, index * 2 + 2), 16),
  );
}

/** What `encode` writes at offset 3 of a larger area; nothing else may be touched. */
function written(encode: (view: DataView, at: number) => number): Uint8Array {
  const area = new Uint8Array(128).fill(0xee);
  const bytes = encode(new DataView(area.buffer), 3);
  assertEquals(area.subarray(0, 3), new Uint8Array(3).fill(0xee));
  assertEquals(area.subarray(3 + bytes), new Uint8Array(125 - bytes).fill(0xee));
  return area.slice(3, 3 + bytes);
}

Deno.test("decodeRequest() reads every field", () => {
  const bytes = bytesOf("ff 25609513 0011 0006 01020304f5f6f7f8 001ffffffffffe00 fffffe00");
  const header = new NbdRequestHeader();
  assertEquals(bytes.length, 1 + NBD_REQUEST_BYTES);
  assertEquals(decodeRequest(new DataView(bytes.buffer), 1, header), true);
  assertEquals({ ...header }, {
    flags: 0x11,
    command: 6,
    ...COOKIE,
    offsetBytes: 2 ** 53 - 512,
    lengthBytes: 0xfffffe00,
  });
});

Deno.test("decodeRequest() makes an offset beyond the safe integers infinite", () => {
  for (const offset of ["0020000000000000", "8000000000000000", "ffffffffffffffff"]) {
    const bytes = bytesOf(`25609513 0000 0000 0000000000000000 ${offset} 00000200`);
    const header = new NbdRequestHeader();
    assertEquals(decodeRequest(new DataView(bytes.buffer), 0, header), true);
    assertEquals(header.offsetBytes, Infinity);
  }
});

Deno.test("decodeRequest() refuses every wrong magic number", () => {
  const good = bytesOf("25609513 0000 0000 0000000000000000 0000000000000000 00000200");
  for (let bit = 0; bit < 32; bit++) {
    const bad = good.slice();
    bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    assertEquals(decodeRequest(new DataView(bad.buffer), 0, new NbdRequestHeader()), false);
  }
});

Deno.test("encodeSimpleReply() writes 16 bytes", () => {
  const bytes = written((view, at) => encodeSimpleReply(view, at, COOKIE, 28));
  assertEquals(bytes, bytesOf("67446698 0000001c 01020304f5f6f7f8"));
  assertEquals(bytes.length, NBD_SIMPLE_REPLY_BYTES);
});

Deno.test("encodeNoneChunk() writes the final chunk without payload", () => {
  const bytes = written((view, at) => encodeNoneChunk(view, at, COOKIE));
  assertEquals(bytes, bytesOf("668e33ef 0001 0000 01020304f5f6f7f8 00000000"));
});

Deno.test("encodeOffsetDataHeader() writes the head of a content chunk", () => {
  const content = { offsetBytes: 2 ** 40 + 512, dataBytes: 4096, done: false };
  const bytes = written((view, at) => encodeOffsetDataHeader(view, at, COOKIE, content));
  assertEquals(
    bytes,
    bytesOf("668e33ef 0000 0001 01020304f5f6f7f8 00001008 0000010000000200"),
  );
  assertEquals(bytes.length, NBD_OFFSET_DATA_BYTES);
  const last = written((view, at) =>
    encodeOffsetDataHeader(view, at, COOKIE, { ...content, done: true })
  );
  assertEquals(last[5], 1);
});

Deno.test("encodeErrorChunk() carries the number and the message", () => {
  const message = new TextEncoder().encode("no");
  const bytes = written((view, at) =>
    encodeErrorChunk(view, at, COOKIE, { nbdError: 22, message })
  );
  assertEquals(
    bytes,
    bytesOf("668e33ef 0001 8001 01020304f5f6f7f8 00000008 00000016 0002 6e6f"),
  );
});

Deno.test("encodeErrorOffsetChunk() says where it went wrong", () => {
  const error = { nbdError: 5, message: new Uint8Array(0), offsetBytes: 2 ** 33, done: false };
  const bytes = written((view, at) => encodeErrorOffsetChunk(view, at, COOKIE, error));
  assertEquals(
    bytes,
    bytesOf("668e33ef 0000 8002 01020304f5f6f7f8 0000000e 00000005 0000 0000000200000000"),
  );
  assertEquals(bytes.length, NBD_ERROR_OFFSET_BYTES);
});

Deno.test("encodeBlockStatusChunk() lists extents", () => {
  const extents = [{ lengthBytes: 4096, state: 0 }, { lengthBytes: 0xfffffe00, state: 3 }];
  const bytes = written((view, at) =>
    encodeBlockStatusChunk(view, at, COOKIE, { contextId: 1, extents })
  );
  assertEquals(
    bytes,
    bytesOf(`668e33ef 0001 0005 01020304f5f6f7f8 00000014 00000001
      00001000 00000000 fffffe00 00000003`),
  );
  assertEquals(bytes.length, blockStatusChunkBytes(2));
});
