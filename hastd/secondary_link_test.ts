import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { RemoteCommand } from "../core/ports.ts";
import type { SecondaryRequest } from "../core/secondary.ts";
import { Nv } from "../protocol/nv.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { decodePayload, encodePayload, type PayloadStages } from "../protocol/payload.ts";
import { FramePeer, LoopRig } from "../tests/support/loop_rig.ts";
import { socketPair } from "../tests/support/socket_pair.ts";
import { SecondaryLink } from "./secondary_link.ts";

const DATASIZE_BYTES = 64 * 1024 * 1024;
const PLAIN: PayloadStages = { compression: "none", checksum: "none" };

interface RigOptions {
  stages?: PayloadStages;
  silenceMs?: number;
  bufferBytesMax?: number;
}

/** A link, what its core was given, and the scripted primary at the other ends. */
class Rig extends LoopRig {
  readonly link: SecondaryLink;
  readonly requests: FramePeer;
  readonly replies: FramePeer;
  readonly taken: SecondaryRequest[] = [];
  onRequest: (request: SecondaryRequest) => void = (request) => this.taken.push(request);
  heardCount = 0;
  endedCount = 0;
  readonly #idleBytes: number;

  constructor(pairs: [number, number][], options: RigOptions = {}) {
    super();
    const [[requestsFd, requestsPeer] = [-1, -1], [repliesFd, repliesPeer] = [-1, -1]] = pairs;
    this.requests = new FramePeer(requestsPeer, this);
    this.replies = new FramePeer(repliesPeer, this);
    this.link = new SecondaryLink({
      requestsFd,
      repliesFd,
      protocolVersion: 2,
      limits: { datasizeBytes: DATASIZE_BYTES, sectorSizeBytes: 512 },
      stages: options.stages ?? PLAIN,
      reactor: this.reactor,
      buffers: this.arena,
      log: this.log,
      ended: () => this.endedCount++,
      silenceMs: options.silenceMs,
      bufferBytesMax: options.bufferBytesMax,
    });
    this.link.serve({
      request: (request) => this.onRequest(request),
      heard: () => this.heardCount++,
    });
    this.#idleBytes = this.arena.takenBytes;
  }

  static async make(options?: RigOptions): Promise<Rig> {
    return new Rig([await socketPair(), await socketPair()], options);
  }

  /** The next request that the core is given. */
  take(): SecondaryRequest {
    this.turnUntil("a request", () => this.taken.length > 0);
    const request = this.taken.shift();
    assert(request !== undefined);
    return request;
  }

  ended(reason: string): void {
    this.turnUntil("the link has ended", () => this.endedCount > 0);
    assertEquals([this.link.open, this.endedCount], [false, 1]);
    assert(this.logged.some((line) => line.includes(reason)), this.logged.join("\n"));
  }

  /** No request holds a buffer. */
  assertIdle(): void {
    this.turnInVain();
    assertEquals(this.arena.takenBytes, this.link.open ? this.#idleBytes : 0);
  }

  [Symbol.dispose](): void {
    this.link.close();
    this.requests.close();
    this.replies.close();
  }
}

function request(command: number, seq: bigint | number, offset: number, length: number): Nv {
  return new Nv().addU8("cmd", command).addU64("seq", seq).addU64("offset", offset)
    .addU64("length", length);
}

function pattern(byteCount: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(byteCount).map((_, index) => (index >> 4) * 5);
}

for (const compression of ["none", "hole", "lzf"] as const) {
  for (const checksum of ["none", "crc32", "sha256"] as const) {
    Deno.test(`writes and reads pass ${compression} and ${checksum} both ways`, async () => {
      const stages = { compression, checksum };
      using rig = await Rig.make({ stages });
      for (const lengthBytes of [512, 4096, 300_032]) {
        for (const data of [new Uint8Array(lengthBytes), pattern(lengthBytes)]) {
          const header = request(2, 2n ** 40n + 1n, 1024, lengthBytes);
          const sent = encodePayload(header, data, stages);
          rig.requests.send(header, sent);
          const write = rig.take();
          const { command, dataOffsetBytes } = write;
          assertEquals({ command, dataOffsetBytes }, { command: 2, dataOffsetBytes: 1024 });
          assertEquals(write.lengthBytes, lengthBytes);
          const isHole = compression !== "none" && data.every((byte) => byte === 0);
          assertEquals(write.zeros, isHole);
          if (isHole) assertEquals(write.buffer, undefined);
          else assertEquals(write.buffer?.bytes.slice(0, lengthBytes), data);
          rig.link.reply(write, false, 0);
          assertEquals(rig.replies.receive()?.header.u64("seq"), 2n ** 40n + 1n);

          rig.requests.send(request(1, 8, 1024, lengthBytes));
          const read = rig.take();
          read.buffer?.bytes.set(data);
          rig.link.reply(read, false, 0);
          const frame = rig.replies.receive();
          assert(frame !== undefined);
          assertEquals(decodePayload(frame.header, frame.data, lengthBytes), data);
          rig.assertIdle();
        }
      }
    });
  }
}

Deno.test("both replies to a memsync write, an error, a delete and a flush", async () => {
  using rig = await Rig.make();
  rig.requests.send(request(2, 1, 0, 512).addU8("memsync", 1).addU32("size", 512), pattern(512));
  const write = rig.take();
  assertEquals(write.memsync, true);
  rig.link.reply(write, true, 0);
  rig.link.reply(write, false, ERRNO.EIO);
  const first = rig.replies.receive()?.header;
  assertEquals([first?.u64("seq"), first?.i8("received"), first?.i16("error")], [1n, 1, undefined]);
  const second = rig.replies.receive()?.header;
  assertEquals([second?.u64("seq"), second?.has("received"), second?.i16("error")], [1n, false, 5]);

  rig.requests.send(request(3, 2, 0, DATASIZE_BYTES));
  assertEquals(rig.take().command, RemoteCommand.delete);
  rig.requests.send(request(4, 3, 0, 0));
  assertEquals(rig.take().command, RemoteCommand.flush);
  rig.requests.send(request(6, 4, 0, 0));
  assertEquals(rig.take().command, RemoteCommand.claim);
});

Deno.test("a stream cut anywhere gives the same requests", async () => {
  using rig = await Rig.make();
  const one = encodeFrame(2, request(2, 1, 0, 512).addU32("size", 512), pattern(512));
  const two = encodeFrame(2, request(1, 2, 512, 1024));
  const stream = new Uint8Array([...one, ...two]);
  for (let cut = 1; cut < stream.length; cut += 37) {
    rig.requests.sendBytes(stream.slice(0, cut));
    rig.reactor.turn(1);
    rig.requests.sendBytes(stream.slice(cut));
    const write = rig.take();
    assertEquals(write.buffer?.bytes.slice(0, 512), pattern(512));
    const read = rig.take();
    assertEquals([read.dataOffsetBytes, read.lengthBytes], [512, 1024]);
    for (const each of [write, read]) rig.link.reply(each, false, ERRNO.EIO);
    rig.replies.receive();
    rig.replies.receive();
  }
  rig.assertIdle();
});

Deno.test("a request that fails a check is answered EINVAL, and its data does not confuse", async () => {
  using rig = await Rig.make();
  const bad: [Nv, string][] = [
    [request(2, 61, 100, 512), "Offset 100 is not multiple of sector size."],
    [request(2, 62, 0, 100), "Length 100 is not multiple of sector size."],
    [request(1, 63, 0, 0), "Data length is zero."],
    [request(1, 64, DATASIZE_BYTES, 512), "Data offset is too large"],
    [request(9, 65, 0, 512), "Header contains invalid 'cmd' (9)."],
    [new Nv().addU64("seq", 66).addU64("offset", 0).addU64("length", 512), "no 'cmd' field"],
    [request(2, 67, 0, 64 * 1024 * 1024), "Data length is too large"],
  ];
  for (const [header, message] of bad) {
    const seq = header.u64("seq");
    header.addU32("size", 200_000);
    rig.requests.send(header, new Uint8Array(200_000).fill(0x7f));
    const reply = rig.replies.receive()?.header;
    assertEquals([reply?.u64("seq"), reply?.i16("error")], [seq, ERRNO.EINVAL]);
    assert(rig.logged.some((line) => line.includes(message)), message);
  }
  rig.requests.send(new Nv().addU8("cmd", 1).addU64("offset", 0).addU64("length", 512));
  const reply = rig.replies.receive()?.header;
  assertEquals([reply?.u64("seq"), reply?.i16("error")], [0n, ERRNO.EINVAL]);
  rig.requests.send(request(1, 70, 0, 512));
  assertEquals(rig.take().seqLow, 70);
});

Deno.test("keep-alives are heard and not answered", async () => {
  using rig = await Rig.make();
  rig.requests.send(new Nv().addU8("cmd", 5));
  rig.turnUntil("the keep-alive", () => rig.heardCount === 1);
  assertEquals(rig.replies.isSilent(), true);
});

Deno.test("with too much in memory reading stops, and goes on when there is room", async () => {
  using rig = await Rig.make({ bufferBytesMax: 256 * 1024 });
  const frames = 12;
  const sendAll = Array.from(
    { length: frames },
    (_, index) =>
      encodeFrame(2, request(2, index + 1, 0, 65536).addU32("size", 65536), pattern(65536)),
  );
  for (const frame of sendAll.slice(0, 8)) rig.requests.sendBytes(frame);
  rig.turnInVain();
  assertEquals(rig.taken.length, 4);
  for (const frame of sendAll.slice(8)) rig.requests.sendBytes(frame);
  for (let count = 1; count <= frames; count++) {
    const write = rig.take();
    assertEquals(write.seqLow, count);
    assert(rig.taken.length <= 3);
    rig.link.reply(write, false, 0);
  }
  rig.assertIdle();
});

Deno.test("a primary that does not take replies is not read any more", async () => {
  using rig = await Rig.make();
  // 25 MiB of replies to reads: more than the link queues and the kernel takes.
  let answered = 0;
  rig.onRequest = (read) => {
    rig.link.reply(read, false, 0);
    answered++;
  };
  for (let seq = 1; seq <= 200; seq++) rig.requests.send(request(1, seq, 0, 131072));
  rig.turnInVain();
  assert(answered > 30 && answered < 200, `answered ${answered}`);
  for (let seq = 1; seq <= 200; seq++) {
    assertEquals(rig.replies.receive()?.header.u64("seq"), BigInt(seq));
  }
  rig.assertIdle();
});

const WRONG: [string, string, (rig: Rig) => void][] = [
  [
    "a write without data",
    "0 bytes of data for 512",
    (rig) => rig.requests.send(request(2, 1, 0, 512)),
  ],
  [
    "too much data",
    "131073 bytes of data for 512",
    (rig) =>
      rig.requests.send(request(2, 1, 0, 512).addU32("size", 131073), new Uint8Array(131073)),
  ],
  ["an unknown checksum", "Unknown checksum algorithm 'md5'", (rig) => {
    const header = request(2, 1, 0, 512).addString("checksum", "md5")
      .addU8Array("hash", new Uint8Array(16)).addU32("size", 512);
    rig.requests.send(header, new Uint8Array(512));
  }],
  ["an unknown compression", "Unknown compression algorithm 'zstd'", (rig) => {
    const header = request(2, 1, 0, 512).addString("compression", "zstd").addU32("size", 512);
    rig.requests.send(header, new Uint8Array(512));
  }],
  ["a wrong hash", "Hash mismatch", (rig) => {
    const header = request(2, 1, 0, 512).addString("checksum", "crc32")
      .addU8Array("hash", new Uint8Array(4)).addU32("size", 512);
    rig.requests.send(header, new Uint8Array(512));
  }],
  ["a hole of another length", "1024 bytes of data for 512", (rig) => {
    const header = request(2, 1, 0, 512).addString("compression", "hole").addU32("size", 4);
    rig.requests.send(header, new Uint8Array([0, 4, 0, 0]));
  }],
  ["more data than a request may have", "the limit is", (rig) => {
    const header = request(1, 1, 0, 512).addU32("size", 0xffffffff);
    rig.requests.sendBytes(new Uint8Array([2, header.encodedBytes, 0, 0, 0, ...header.encode()]));
  }],
  [
    "a newer version",
    "version 3",
    (rig) => rig.requests.sendBytes(new Uint8Array([3, 9, 0, 0, 0])),
  ],
  [
    "the end",
    "Unable to receive request header: Socket is not connected.",
    (rig) => rig.requests.close(),
  ],
  [
    "the end of connection 2",
    "Unable to send reply: Socket is not connected.",
    (rig) => rig.replies.close(),
  ],
  ["data on connection 2", "Unexpected data", (rig) => rig.replies.sendBytes(new Uint8Array([1]))],
];
for (const [what, reason, act] of WRONG) {
  Deno.test(`${what} ends the link, once, with a reason`, async () => {
    using rig = await Rig.make();
    act(rig);
    rig.ended(reason);
    assertEquals(rig.taken, []);
    rig.assertIdle();
  });
}

Deno.test("what the core has when the link ends is its own until it answers", async () => {
  using rig = await Rig.make();
  rig.requests.send(request(2, 1, 0, 4096).addU32("size", 4096), pattern(4096));
  const write = rig.take();
  rig.requests.close();
  rig.ended("Unable to receive request header");
  assertEquals(write.buffer?.bytes.slice(0, 4096), pattern(4096));
  rig.link.reply(write, true, 0);
  rig.link.reply(write, false, 0);
  rig.assertIdle();
});

Deno.test("a silent primary is given up, one that sends anything is not", async () => {
  using rig = await Rig.make({ silenceMs: 120 });
  for (let count = 0; count < 5; count++) {
    const untilMs = performance.now() + 60;
    rig.turnUntil("60 ms are over", () => performance.now() >= untilMs);
    rig.requests.send(new Nv().addU8("cmd", 5));
  }
  assertEquals(rig.endedCount, 0);
  rig.ended("Unable to receive request header: Operation timed out.");
});

Deno.test("answer() and finish() send a long answer and end without an error", async () => {
  using rig = await Rig.make();
  const map = pattern(500_000);
  const header = new Nv().addU32("mapsize", map.length).addU32("size", map.length);
  rig.link.answer(encodeFrame(2, header, map));
  rig.link.finish();
  assertEquals(rig.requests.receive()?.data, map);
  rig.turnUntil("the end", () => rig.endedCount === 1);
  assertEquals(rig.logged, []);
});
