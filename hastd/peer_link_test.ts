import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { type PeerLink, RemoteCommand, type RemoteRequest } from "../core/ports.ts";
import { decodePayload, encodePayload, type PayloadStages } from "../protocol/payload.ts";
import { Nv } from "../protocol/nv.ts";
import { FramePeer, LoopRig } from "../tests/support/loop_rig.ts";
import { socketPair } from "../tests/support/socket_pair.ts";
import { SocketPeerLink } from "./peer_link.ts";

const PLAIN: PayloadStages = { compression: "none", checksum: "none" };

interface RigOptions {
  stages?: PayloadStages;
  timeoutMs?: number;
  keepaliveMs?: number;
}

/** A link, what its owner was told, and the scripted secondary at the other ends. */
class Rig extends LoopRig {
  readonly link: SocketPeerLink;
  readonly requests: FramePeer;
  readonly replies: FramePeer;
  readonly answers: [seq: number, received: boolean, errno: number][] = [];
  readonly reads = new Map<number, RemoteRequest>();
  known = (seq: number) => seq < 90;
  lostCount = 0;

  constructor(pairs: [number, number][], options: RigOptions = {}) {
    super();
    const [[requestsFd, requestsPeer] = [-1, -1], [repliesFd, repliesPeer] = [-1, -1]] = pairs;
    this.requests = new FramePeer(requestsPeer, this);
    this.replies = new FramePeer(repliesPeer, this);
    this.link = new SocketPeerLink({
      requestsFd,
      repliesFd,
      requestBytesMax: 1024 * 1024,
      protocolVersion: 2,
      takesClaims: false,
      stages: options.stages ?? PLAIN,
      timeoutMs: options.timeoutMs ?? 20_000,
      keepaliveMs: options.keepaliveMs,
      reactor: this.reactor,
      buffers: this.arena,
      log: this.log,
      owner: {
        remoteReply: (link, seq, received, errno) => {
          assertEquals(link, this.link);
          this.answers.push([seq, received, errno]);
          return this.known(seq);
        },
        readTarget: (_link: PeerLink, seq) => this.reads.get(seq),
        linkLost: (link) => {
          assertEquals(link, this.link);
          this.lostCount++;
        },
      },
    });
  }

  static async make(options?: RigOptions): Promise<Rig> {
    return new Rig([await socketPair(), await socketPair()], options);
  }

  request(command: RemoteCommand, seq: number, lengthBytes: number): RemoteRequest {
    const buffer = lengthBytes > 0 && lengthBytes <= 1024 * 1024
      ? this.arena.take(lengthBytes + 512)
      : undefined;
    return {
      command,
      seq,
      offsetBytes: 4096,
      lengthBytes,
      memsync: false,
      buffer,
      bufferOffsetBytes: 512,
      zeros: false,
    };
  }

  lost(reason: string): void {
    this.turnUntil("the link is lost", () => this.lostCount > 0);
    assertEquals(this.link.open, false);
    assertEquals(this.lostCount, 1);
    assert(this.logged.some((line) => line.includes(reason)), this.logged.join("\n"));
  }

  [Symbol.dispose](): void {
    this.link.close();
    this.requests.close();
    this.replies.close();
  }
}

function fill(request: RemoteRequest, seed: number): Uint8Array {
  const data = request.buffer?.bytes.subarray(512, 512 + request.lengthBytes) ?? new Uint8Array();
  data.forEach((_, index) => data[index] = (index >> 5) * seed);
  return data;
}

const CHECKSUMS = ["none", "crc32", "sha256"] as const;
for (const compression of ["none", "hole", "lzf"] as const) {
  for (const checksum of CHECKSUMS) {
    Deno.test(`writes and reads pass ${compression} and ${checksum} both ways`, async () => {
      const stages = { compression, checksum };
      using rig = await Rig.make({ stages });
      const takenBytes = rig.arena.takenBytes;
      let seq = 1;
      for (const lengthBytes of [512, 4096, 200_704]) {
        for (const seed of [0, 3]) {
          const write = rig.request(RemoteCommand.write, seq++, lengthBytes);
          const data = fill(write, seed);
          rig.link.send(write);
          const frame = rig.requests.receive();
          assert(frame !== undefined);
          assertEquals(frame.header.u64("length"), BigInt(lengthBytes));
          assertEquals(frame.header.u64("offset"), 4096n);
          const expectsHole = compression !== "none" && seed === 0;
          if (expectsHole) assertEquals(frame.header.string("compression"), "hole");
          assertEquals(frame.header.has("checksum"), checksum !== "none");
          assertEquals(decodePayload(frame.header, frame.data, lengthBytes), data);

          const read = rig.request(RemoteCommand.read, seq++, lengthBytes);
          rig.reads.set(read.seq, read);
          rig.link.send(read);
          assertEquals(rig.requests.receive()?.header.u8("cmd"), 1);
          const header = new Nv().addU64("seq", read.seq);
          const sent = encodePayload(header, data, stages);
          rig.replies.send(header, sent);
          rig.replies.send(new Nv().addU64("seq", write.seq));
          rig.turnUntil("both replies", () => rig.answers.length === 2);
          assertEquals(rig.answers.splice(0), [[read.seq, false, 0], [write.seq, false, 0]]);
          assertEquals(read.buffer?.bytes.slice(512, 512 + lengthBytes), data.slice());
          for (const { buffer } of [write, read]) if (buffer !== undefined) rig.arena.give(buffer);
        }
      }
      assertEquals(rig.link.pendingCount, 0);
      assertEquals(rig.arena.takenBytes, takenBytes);
    });
  }
}

Deno.test("a write of zeros without a buffer is sent as a hole, whatever is configured", async () => {
  using rig = await Rig.make();
  rig.link.send({ ...rig.request(RemoteCommand.write, 7, 32 * 1024 * 1024), zeros: true });
  const frame = rig.requests.receive();
  assertEquals(frame?.header.string("compression"), "hole");
  assertEquals(frame?.data, new Uint8Array([0, 0, 0, 2]));
});

Deno.test("memsync: the first of two replies leaves a request pending", async () => {
  using rig = await Rig.make();
  const write = rig.request(RemoteCommand.write, 1, 512);
  rig.link.send({ ...write, memsync: true });
  assertEquals(rig.requests.receive()?.header.u8("memsync"), 1);
  rig.replies.send(new Nv().addU64("seq", 1).addI8("received", 1));
  rig.turnUntil("the first reply", () => rig.answers.length === 1);
  assertEquals(rig.link.pendingCount, 1);
  rig.replies.send(new Nv().addU64("seq", 1).addI16("error", ERRNO.ENOSPC));
  rig.turnUntil("the second reply", () => rig.answers.length === 2);
  assertEquals(rig.answers, [[1, true, 0], [1, false, ERRNO.ENOSPC]]);
  assertEquals(rig.link.pendingCount, 0);
});

Deno.test("replies that come one byte at a time are the same", async () => {
  using rig = await Rig.make();
  const read = rig.request(RemoteCommand.read, 5, 512);
  rig.reads.set(5, read);
  rig.link.send(read);
  const header = new Nv().addU64("seq", 5).addU32("size", 512);
  const bytes = new Uint8Array([
    2,
    44,
    0,
    0,
    0,
    ...header.encode(),
    ...new Uint8Array(512).fill(9),
  ]);
  for (const byte of bytes) {
    rig.replies.sendBytes(new Uint8Array([byte]));
    rig.reactor.turn(1);
  }
  rig.turnUntil("the reply", () => rig.answers.length === 1);
  assertEquals(read.buffer?.bytes.slice(512, 1024), new Uint8Array(512).fill(9));
});

/** What a wrong secondary sends, and what is said about it. */
const WRONG: [string, string, (rig: Rig) => void][] = [
  ["no seq", "Header contains no 'seq' field.", (rig) => rig.replies.send(new Nv().addU8("x", 1))],
  [
    "an unknown seq",
    "Found no request matching received 'seq' field (99).",
    (rig) => rig.replies.send(new Nv().addU64("seq", 99)),
  ],
  [
    "data for a write",
    "Found no read matching",
    (rig) => rig.replies.send(new Nv().addU64("seq", 1).addU32("size", 4), new Uint8Array(4)),
  ],
  ["a read without data", "without data", (rig) => {
    rig.reads.set(2, rig.request(RemoteCommand.read, 2, 512));
    rig.replies.send(new Nv().addU64("seq", 2));
  }],
  ["too little data", "256 bytes of data for 512", (rig) => {
    rig.reads.set(2, rig.request(RemoteCommand.read, 2, 512));
    rig.replies.send(new Nv().addU64("seq", 2).addU32("size", 256), new Uint8Array(256));
  }],
  ["a hole of another length", "513 bytes of data for 512", (rig) => {
    rig.reads.set(2, rig.request(RemoteCommand.read, 2, 512));
    const header = new Nv().addU64("seq", 2).addString("compression", "hole").addU32("size", 4);
    rig.replies.send(header, new Uint8Array([1, 2, 0, 0]));
  }],
  ["a wrong hash", "Hash mismatch", (rig) => {
    rig.reads.set(2, rig.request(RemoteCommand.read, 2, 512));
    const header = new Nv().addU64("seq", 2).addString("checksum", "crc32")
      .addU8Array("hash", new Uint8Array(4)).addU32("size", 512);
    rig.replies.send(header, new Uint8Array(512).fill(1));
  }],
  ["an unknown compression", "zstd", (rig) => {
    rig.reads.set(2, rig.request(RemoteCommand.read, 2, 512));
    const header = new Nv().addU64("seq", 2).addString("compression", "zstd").addU32("size", 100);
    rig.replies.send(header, new Uint8Array(100));
  }],
  [
    "a huge header",
    "the limit is",
    (rig) => rig.replies.sendBytes(new Uint8Array([2, 255, 255, 255, 255])),
  ],
  [
    "the end",
    "Unable to receive reply header: Socket is not connected.",
    (rig) => rig.replies.close(),
  ],
  [
    "the end of connection 1",
    "Unable to send request: Socket is not connected.",
    (rig) => rig.requests.close(),
  ],
  ["data on connection 1", "Unexpected data", (rig) => rig.requests.sendBytes(new Uint8Array([1]))],
];
for (const [what, reason, act] of WRONG) {
  Deno.test(`${what} ends the link, once, with a reason`, async () => {
    using rig = await Rig.make();
    rig.link.send(rig.request(RemoteCommand.write, 1, 512));
    act(rig);
    rig.lost(reason);
  });
}

Deno.test("a secondary that takes requests and never answers is given up after the time-out", async () => {
  using rig = await Rig.make({ timeoutMs: 120 });
  rig.turnInVain();
  assertEquals(rig.lostCount, 0);
  const startMs = performance.now();
  rig.link.send(rig.request(RemoteCommand.flush, 1, 0));
  rig.lost("Unable to receive reply header: Operation timed out.");
  const tookMs = performance.now() - startMs;
  assert(tookMs >= 115 && tookMs < 2000, `took ${tookMs} ms`);
});

Deno.test("replies keep the link alive while other requests wait", async () => {
  using rig = await Rig.make({ timeoutMs: 120 });
  rig.link.send(rig.request(RemoteCommand.flush, 1, 0));
  for (let seq = 2; seq < 12; seq++) {
    rig.link.send(rig.request(RemoteCommand.flush, seq, 0));
    const untilMs = performance.now() + 30;
    rig.turnUntil("30 ms are over", () => performance.now() >= untilMs);
    rig.replies.send(new Nv().addU64("seq", seq));
  }
  assertEquals([rig.lostCount, rig.link.pendingCount], [0, 2]);
  rig.lost("timed out");
});

Deno.test("an idle link sends keep-alives, and no requests keep it alive", async () => {
  using rig = await Rig.make({ keepaliveMs: 30, timeoutMs: 100 });
  for (let count = 0; count < 6; count++) {
    const frame = rig.requests.receive();
    assertEquals([frame?.version, frame?.header.u8("cmd")], [2, 5]);
    assertEquals(frame?.header.entries().length, 1);
  }
  assertEquals(rig.lostCount, 0);
});

Deno.test("close() tells nobody, and nothing is sent afterwards", async () => {
  using rig = await Rig.make();
  rig.link.close();
  rig.link.send(rig.request(RemoteCommand.flush, 1, 0));
  assertEquals(rig.requests.receive(), undefined);
  assertEquals(rig.lostCount, 0);
});
