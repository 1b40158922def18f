import { assertEquals } from "@std/assert";
import { NBD_INFO } from "./nbd.ts";
import {
  decodeClientFlags,
  decodeExportName,
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeErrorText,
  encodeExportNameReply,
  encodeGreeting,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionReply,
  encodeServerData,
} from "./nbd_handshake.ts";

function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function bytesOf(...parts: (string | number[])[]): Uint8Array {
  const utf8 = new TextEncoder();
  return Uint8Array.from(
    parts.flatMap((part) => [...(typeof part === "string" ? utf8.encode(part) : part)]),
  );
}

Deno.test("encodeGreeting() offers fixed newstyle without zeroes", () => {
  assertEquals(encodeGreeting(), bytesOf("NBDMAGIC", "IHAVEOPT", [0, 3]));
});

Deno.test("decodeClientFlags() takes the two flags and no other", () => {
  const of = (...flags: number[]) => decodeClientFlags(Uint8Array.from(flags));
  assertEquals(of(0, 0, 0, 0), { fixedNewstyle: false, noZeroes: false });
  assertEquals(of(0, 0, 0, 1), { fixedNewstyle: true, noZeroes: false });
  assertEquals(of(0, 0, 0, 3), { fixedNewstyle: true, noZeroes: true });
  for (let bit = 2; bit < 32; bit++) {
    const flags = new Uint8Array(4);
    new DataView(flags.buffer).setUint32(0, 2 ** bit + 1);
    assertEquals(decodeClientFlags(flags), undefined, `bit ${bit}`);
  }
});

Deno.test("decodeOptionHeader() takes lengths up to 4 GiB and refuses a wrong magic number", () => {
  const head = bytesOf("IHAVEOPT", [0x80, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]);
  assertEquals(decodeOptionHeader(head), { option: 0x80000007, dataBytes: 0xffffffff });
  for (let at = 0; at < 8; at++) {
    const bad = head.slice();
    bad[at] = 0;
    assertEquals(decodeOptionHeader(bad), undefined);
  }
});

Deno.test("encodeOptionReply() puts the head in front of the data", () => {
  assertEquals(
    hexOf(encodeOptionReply(7, 0x80000006, encodeErrorText("no"))),
    "0003e889045565a9" + "00000007" + "80000006" + "00000002" + "6e6f",
  );
  assertEquals(
    hexOf(encodeOptionReply(2, 1)),
    "0003e889045565a9" + "00000002" + "00000001" + "00000000",
  );
});

Deno.test("encodeErrorText() stays within the longest string", () => {
  assertEquals(encodeErrorText("x".repeat(5000)).length, 4096);
});

Deno.test("the data of replies has the protocol's layout", () => {
  assertEquals(encodeServerData("ab", "c"), bytesOf([0, 0, 0, 2], "abc"));
  assertEquals(hexOf(encodeInfoExport(2 ** 40, 0x0d6d)), "0000" + "0000010000000000" + "0d6d");
  assertEquals(encodeInfoText(NBD_INFO.name, "ab"), bytesOf([0, 1], "ab"));
  assertEquals(encodeInfoText(NBD_INFO.description, ""), bytesOf([0, 2]));
  assertEquals(
    hexOf(encodeInfoBlockSize({
      minimumBytes: 512,
      preferredBytes: 4096,
      maximumBytes: 32 * 1024 * 1024,
    })),
    "0003" + "00000200" + "00001000" + "02000000",
  );
  assertEquals(encodeMetaContext(1, "base:x"), bytesOf([0, 0, 0, 1], "base:x"));
});

Deno.test("encodeExportNameReply() pads with 124 zeros unless told not to", () => {
  const short = encodeExportNameReply(0x12345600, 0x016d, true);
  assertEquals(hexOf(short), "0000000012345600" + "016d");
  const long = encodeExportNameReply(0x12345600, 0x016d, false);
  assertEquals(hexOf(long), hexOf(short) + "00".repeat(124));
});

Deno.test("decodeInfoRequest() takes a name and a list, and nothing but the whole", () => {
  const data = bytesOf([0, 0, 0, 3], "né", [0, 2, 0, 3, 0x12, 0x34]);
  assertEquals(decodeInfoRequest(data), { exportName: "né", infoTypes: [3, 0x1234] });
  for (let length = 0; length < data.length; length++) {
    assertEquals(decodeInfoRequest(data.subarray(0, length)), undefined, `${length} bytes`);
  }
  assertEquals(decodeInfoRequest(bytesOf([...data], [0])), undefined);
  assertEquals(decodeInfoRequest(bytesOf([...data], [0, 0])), undefined);
  assertEquals(decodeInfoRequest(bytesOf([0, 0, 0, 0, 0, 0])), { exportName: "", infoTypes: [] });
});

Deno.test("decodeMetaContextRequest() takes a name and queries, and nothing but the whole", () => {
  const data = bytesOf([0, 0, 0, 1], "n", [0, 0, 0, 2, 0, 0, 0, 5], "base:", [0, 0, 0, 0]);
  assertEquals(decodeMetaContextRequest(data), { exportName: "n", queries: ["base:", ""] });
  for (let length = 0; length < data.length; length++) {
    assertEquals(decodeMetaContextRequest(data.subarray(0, length)), undefined, `${length} bytes`);
  }
  assertEquals(decodeMetaContextRequest(bytesOf([...data], [0])), undefined);
  const fourBillion = bytesOf([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
  assertEquals(decodeMetaContextRequest(fourBillion), undefined);
});

Deno.test("strings are UTF-8 without NUL, of at most 4096 bytes", () => {
  assertEquals(decodeExportName(bytesOf("ok")), "ok");
  assertEquals(decodeExportName(new Uint8Array(4096).fill(0x61))?.length, 4096);
  assertEquals(decodeExportName(new Uint8Array(4097).fill(0x61)), undefined);
  assertEquals(decodeExportName(bytesOf("a", [0])), undefined);
  assertEquals(decodeExportName(bytesOf([0xff])), undefined);
});
