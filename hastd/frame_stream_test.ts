import { assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { Nv } from "../protocol/nv.ts";
import { FrameStream } from "./frame_stream.ts";

const FRAME = encodeFrame(2, new Nv().addString("resource", "data"));
const LIMIT_BYTES = 64;
const TIMEOUT_MS = 5_000;

async function withPair(
  test: (peer: Deno.TcpConn, own: Deno.TcpConn) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using own = await listener.accept();
  await test(peer, own);
}

async function failure(own: Deno.TcpConn, timeoutMs = TIMEOUT_MS): Promise<string> {
  const stream = new FrameStream(own, LIMIT_BYTES);
  return (await assertRejects(() => stream.read(timeoutMs), ProtocolError)).message;
}

Deno.test("read() takes one frame, byte by byte if need be, and not a byte of the next", () =>
  withPair(async (peer, own) => {
    const stream = new FrameStream(own, LIMIT_BYTES);
    const reading = stream.read(TIMEOUT_MS);
    for (const byte of FRAME) await peer.write(new Uint8Array([byte]));
    await peer.write(new Uint8Array([99]));
    const { version, header } = await reading;
    assertEquals([version, header.string("resource")], [2, "data"]);
    const rest = new Uint8Array(8);
    assertEquals(await own.read(rest), 1);
    assertEquals(rest[0], 99);
  }));

Deno.test("read() ends at its deadline, however many bytes came before", () =>
  withPair(async (peer, own) => {
    await peer.write(FRAME.subarray(0, FRAME.length - 1));
    assertEquals(await failure(own, 50), "Operation timed out");
  }));

Deno.test("read() tells the end of a connection as the original does", () =>
  withPair(async (peer, own) => {
    await peer.write(FRAME.subarray(0, 3));
    await peer.closeWrite();
    assertEquals(await failure(own), "Socket is not connected");
  }));

Deno.test("read() refuses a newer version, a header over the limit, and data", async () => {
  const withSize = encodeFrame(2, new Nv().addU32("size", 4), new Uint8Array(4));
  const wrong: [Uint8Array, string][] = [
    [new Uint8Array([3, 1, 0, 0, 0]), "RPC version wrong"],
    [
      new Uint8Array([2, LIMIT_BYTES + 1, 0, 0, 0]),
      "Cannot read a header of 65 bytes: the limit is 64",
    ],
    [withSize, "Cannot read 4 bytes of data: the limit is 0"],
  ];
  for (const [bytes, message] of wrong) {
    await withPair(async (peer, own) => {
      await peer.write(bytes);
      assertEquals(await failure(own), message);
    });
  }
});

Deno.test("write() ends at its deadline when the peer reads nothing", () =>
  withPair(async (_peer, own) => {
    const stream = new FrameStream(own, LIMIT_BYTES);
    const error = await assertRejects(
      () => stream.write(new Uint8Array(64 * 1024 * 1024), 100),
      ProtocolError,
    );
    assertEquals(error.message, "Operation timed out");
  }));
