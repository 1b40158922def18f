import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { Arena } from "../ffi/memory.ts";
import { closeSocket, recvBytes, sendBytes, setBufferSizes } from "../ffi/socket.ts";
import { socketPair } from "../tests/support/socket_pair.ts";
import { FlushRank, Reactor } from "./reactor.ts";
import { StreamSocket } from "./stream_socket.ts";

const DEADLINE_MS = 5000;

/** A socket in a loop, what it was told, and the descriptor of its other end. */
class Rig {
  readonly reactor = new Reactor();
  readonly arena = new Arena(64 * 1024 * 1024);
  readonly socket: StreamSocket;
  readonly otherFd: number;
  closedWith: number | undefined = undefined;
  drainedCount = 0;
  #otherClosed = false;
  received: () => void = () => {};

  constructor([fd, otherFd]: [number, number], inputBytes?: number) {
    this.otherFd = otherFd;
    this.socket = new StreamSocket(fd, {
      reactor: this.reactor,
      buffers: this.arena,
      rank: FlushRank.peer,
      handler: {
        received: () => this.received(),
        closed: (errno) => this.closedWith = errno,
        drained: () => this.drainedCount++,
      },
      inputBytes,
      outputHighBytes: 256 * 1024,
    });
  }

  turnUntil(condition: () => boolean): void {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (!condition()) {
      assert(performance.now() < deadlineMs, "the condition was not met in time");
      this.reactor.turn(5);
    }
  }

  /** Sends from the other end, taking turns where the kernel has no room. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length;) {
      const sent = sendBytes(this.otherFd, bytes.subarray(at));
      if (sent > 0) at += sent;
      else this.reactor.turn(1);
    }
  }

  /** Receives at the other end, taking turns until there are `byteCount` bytes. */
  receive(byteCount: number): Uint8Array {
    const bytes = new Uint8Array(byteCount);
    let at = 0;
    this.turnUntil(() => {
      const got = recvBytes(this.otherFd, bytes.subarray(at));
      if (got > 0) at += got;
      return at === byteCount;
    });
    return bytes;
  }

  closeOther(): void {
    if (!this.#otherClosed) closeSocket(this.otherFd);
    this.#otherClosed = true;
  }

  [Symbol.dispose](): void {
    this.socket.close();
    this.closeOther();
    assertEquals(this.arena.takenBytes, 0);
  }
}

function pattern(byteCount: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(byteCount);
  for (let index = 0; index < byteCount; index++) bytes[index] = (index * 7 + seed) ^ (index >> 8);
  return bytes;
}

Deno.test("received() is called with what came, and the rest stays until more comes", async () => {
  using rig = new Rig(await socketPair());
  const { socket } = rig;
  const lines: string[] = [];
  rig.received = () => {
    for (;;) {
      const at = socket.input.subarray(0, socket.end).indexOf(10, socket.start);
      if (at < 0) return;
      lines.push(new TextDecoder().decode(socket.input.subarray(socket.start, at)));
      socket.consume(at + 1 - socket.start);
    }
  };
  rig.send(new TextEncoder().encode("one\ntwo\nth"));
  rig.turnUntil(() => lines.length === 2);
  rig.send(new TextEncoder().encode("ree\n"));
  rig.turnUntil(() => lines.length === 3);
  assertEquals(lines, ["one", "two", "three"]);
});

for (const bodyBytes of [100, 20_000, 5_000_000]) {
  Deno.test(`readInto() takes a body of ${bodyBytes} bytes out of the stream, again and again`, async () => {
    using rig = new Rig(await socketPair(), 64 * 1024);
    const { socket, arena } = rig;
    const body = arena.take(bodyBytes + 3);
    const bodies: Uint8Array[] = [];
    const done = () => bodies.push(body.bytes.slice(3, 3 + bodyBytes));
    rig.received = () => {
      while (socket.end - socket.start >= 4) {
        assertEquals(socket.inputView.getUint32(socket.start), bodies.length);
        socket.consume(4);
        if (!socket.readInto(body, 3, bodyBytes, done)) return;
        done();
      }
    };
    for (let count = 0; count < 3; count++) {
      const message = new Uint8Array(4 + bodyBytes);
      message[3] = count;
      message.set(pattern(bodyBytes, count), 4);
      // In two pieces: the first ends within the header or the body.
      const cut = count * 3 + 2;
      rig.send(message.slice(0, cut));
      rig.reactor.turn(0);
      rig.send(message.slice(cut));
    }
    rig.turnUntil(() => bodies.length === 3);
    bodies.forEach((bytes, index) => assertEquals(bytes, pattern(bodyBytes, index)));
    arena.give(body);
  });
}

Deno.test("small and large pieces leave in order, and owners are told once each", async () => {
  using rig = new Rig(await socketPair());
  const { socket, arena } = rig;
  setBufferSizes(socket.fd, 64 * 1024, 64 * 1024);
  const expected: number[] = [];
  let doneCount = 0;
  const buffers = [];
  for (let round = 0; round < 40; round++) {
    const small = pattern(1000 + round * 700, round);
    socket.write(small);
    const large = arena.take(100_000);
    buffers.push(large);
    large.bytes.set(pattern(100_000, round + 1));
    const copied = socket.writeBuffer(large, 5, 90_000, { outputDone: () => doneCount++ });
    assertEquals(copied, false);
    assertEquals(socket.writeBuffer(large, 0, 1000), true);
    for (const part of [small, large.bytes.subarray(5, 90_005), large.bytes.subarray(0, 1000)]) {
      for (const byte of part) expected.push(byte);
    }
  }
  assert(socket.congested);
  assertEquals(socket.queuedBytes, expected.length);
  assertEquals(rig.receive(expected.length), new Uint8Array(expected));
  rig.turnUntil(() => socket.queuedBytes === 0);
  assertEquals(doneCount, 40);
  assertEquals(rig.drainedCount, 1);
  assertEquals(socket.congested, false);
  assertEquals(socket.sentBytes, expected.length);
  for (const buffer of buffers) arena.give(buffer);
});

Deno.test("pauseReading() stops input, resumeReading() tells of what was left", async () => {
  using rig = new Rig(await socketPair());
  const { socket } = rig;
  let calls = 0;
  rig.received = () => {
    calls++;
    if (calls === 1) socket.pauseReading();
    else socket.consume(socket.end - socket.start);
  };
  rig.send(pattern(10));
  rig.turnUntil(() => calls === 1);
  rig.send(pattern(10));
  for (let turn = 0; turn < 3; turn++) rig.reactor.turn(1);
  assertEquals(calls, 1);
  socket.resumeReading();
  rig.turnUntil(() => socket.receivedBytes === 20 && socket.start === socket.end);
});

Deno.test("input left in a full buffer is told before more is received", async () => {
  const inputBytes = 8192;
  using rig = new Rig(await socketPair(), inputBytes);
  const { socket } = rig;
  let starving = true;
  let gotBytes = 0;
  rig.received = () => {
    if (starving) {
      if (socket.end === inputBytes) socket.pauseReading();
      return;
    }
    gotBytes += socket.end - socket.start;
    socket.consume(socket.end - socket.start);
  };
  rig.send(pattern(20_000));
  rig.turnUntil(() => socket.paused);
  starving = false;
  socket.resumeReading();
  rig.turnUntil(() => gotBytes === 20_000);
});

Deno.test("closed(0) tells of the end of the stream, after all that came before it", async () => {
  using rig = new Rig(await socketPair());
  const { socket } = rig;
  let gotBytes = 0;
  rig.received = () => {
    gotBytes += socket.end - socket.start;
    socket.consume(socket.end - socket.start);
  };
  rig.send(pattern(300_000));
  rig.closeOther();
  rig.turnUntil(() => rig.closedWith !== undefined);
  assertEquals([rig.closedWith, gotBytes], [0, 300_000]);
  assertEquals(socket.open, false);
});

Deno.test("a broken connection is told to a writer, and owners get their memory back", async () => {
  using rig = new Rig(await socketPair());
  const { socket, arena } = rig;
  const large = arena.take(1_000_000);
  let done = 0;
  for (let count = 0; count < 20; count++) {
    socket.writeBuffer(large, 0, 1_000_000, { outputDone: () => done++ });
  }
  socket.pauseReading();
  rig.reactor.turn(0);
  rig.closeOther();
  rig.turnUntil(() => rig.closedWith !== undefined);
  assert(rig.closedWith === ERRNO.ECONNRESET || rig.closedWith === ERRNO.EPIPE);
  assertEquals(done, 20);
  arena.give(large);
});

Deno.test("finish() sends what is queued, then closes", async () => {
  using rig = new Rig(await socketPair());
  rig.socket.write(pattern(50_000));
  rig.socket.finish();
  assertEquals(rig.receive(50_000), pattern(50_000));
  rig.turnUntil(() => rig.closedWith !== undefined);
  assertEquals(rig.closedWith, 0);
  assertEquals(recvBytes(rig.otherFd, new Uint8Array(1)), 0);
});

Deno.test("an owner that closes the socket when it is told does no harm", async () => {
  using rig = new Rig(await socketPair());
  const { socket, arena } = rig;
  const large = arena.take(20_000);
  socket.writeBuffer(large, 0, 20_000, { outputDone: () => socket.close() });
  socket.writeBuffer(large, 0, 20_000);
  rig.turnUntil(() => !socket.open);
  assertEquals(rig.closedWith, undefined);
  arena.give(large);
});
