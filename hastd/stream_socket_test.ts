import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { Arena } from "../ffi/memory.ts";
import { closeSocket, recvBytes, sendBytes, setBufferSizes } from "../ffi/socket.ts";
import {
  availableCiphers,
  type CipherName,
  RECORD_PLAIN_BYTES_MAX,
  RecordOpener,
  RecordSealer,
} from "../protocol/secure_record.ts";
import { socketPair } from "../tests/support/socket_pair.ts";
import { FlushRank, Reactor } from "./reactor.ts";
import { RECORD_ERRNO } from "./sealed_input.ts";
import { StreamSocket } from "./stream_socket.ts";

const DEADLINE_MS = 5000;
const TO_SOCKET = new Uint8Array(32).fill(1);
const FROM_SOCKET = new Uint8Array(32).fill(2);

/** How the stream is carried: as it is, or in records of this cipher. */
type Carrier = "plain" | CipherName;

/** Runs a test with each carrier. */
function eachCarrier(name: string, test: (carrier: Carrier) => Promise<void>): void {
  for (const carrier of ["plain", ...availableCiphers()] as const) {
    Deno.test(`${carrier}: ${name}`, () => test(carrier));
  }
}

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

  readonly #sealer: RecordSealer | undefined;
  readonly #opener: RecordOpener | undefined;
  /** What has come of records that are not whole yet. */
  #records = new Uint8Array(0);

  constructor([fd, otherFd]: [number, number], carrier: Carrier, inputBytes?: number) {
    this.otherFd = otherFd;
    const sealed = carrier !== "plain";
    this.#sealer = sealed ? new RecordSealer(carrier, TO_SOCKET) : undefined;
    this.#opener = sealed ? new RecordOpener(carrier, FROM_SOCKET) : undefined;
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
      cipher: sealed
        ? {
          sealer: new RecordSealer(carrier, FROM_SOCKET),
          opener: new RecordOpener(carrier, TO_SOCKET),
        }
        : undefined,
    });
  }

  turnUntil(condition: () => boolean): void {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (!condition()) {
      assert(performance.now() < deadlineMs, "the condition was not met in time");
      this.reactor.turn(5);
    }
  }

  /** What the other end sends for `bytes`. */
  carried(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (this.#sealer === undefined) return bytes;
    const records: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += RECORD_PLAIN_BYTES_MAX) {
      records.push(this.#sealer.seal(bytes.subarray(at, at + RECORD_PLAIN_BYTES_MAX)));
    }
    return joined(records);
  }

  /** Sends from the other end, taking turns where the kernel has no room. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.sendRaw(this.carried(bytes));
  }

  sendRaw(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length;) {
      const sent = sendBytes(this.otherFd, bytes.subarray(at));
      if (sent > 0) at += sent;
      else if (sent === -ERRNO.EAGAIN) this.reactor.turn(1);
      else return; // The socket has been closed, which the test will find.
    }
  }

  /** Receives at the other end, taking turns until there are `byteCount` bytes. */
  receive(byteCount: number): Uint8Array {
    const pieces: Uint8Array[] = [];
    let gotBytes = 0;
    const chunk = new Uint8Array(256 * 1024);
    this.turnUntil(() => {
      const got = recvBytes(this.otherFd, chunk);
      if (got > 0) pieces.push(...this.#opened(chunk.slice(0, got)));
      gotBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      return gotBytes >= byteCount;
    });
    assertEquals(gotBytes, byteCount);
    return joined(pieces);
  }

  #opened(bytes: Uint8Array<ArrayBuffer>): Uint8Array[] {
    if (this.#opener === undefined) return [bytes];
    this.#records = joined([this.#records, bytes]);
    const pieces: Uint8Array[] = [];
    for (;;) {
      const recordBytes = this.#opener.recordBytes(this.#records, 0, this.#records.length);
      if (recordBytes === 0 || recordBytes > this.#records.length) return pieces;
      pieces.push(this.#opener.open(this.#records.subarray(0, recordBytes)));
      this.#records = this.#records.slice(recordBytes);
    }
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

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

function pattern(byteCount: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(byteCount);
  for (let index = 0; index < byteCount; index++) bytes[index] = (index * 7 + seed) ^ (index >> 8);
  return bytes;
}

eachCarrier(
  "received() is called with what came, and the rest stays until more comes",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
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
  },
);

for (const bodyBytes of [100, 20_000, 5_000_000]) {
  eachCarrier(
    `readInto() takes a body of ${bodyBytes} bytes out of the stream, again and again`,
    async (carrier) => {
      using rig = new Rig(await socketPair(), carrier, 64 * 1024);
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
    },
  );
}

eachCarrier(
  "small and large pieces leave in order, and owners are told once each",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
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
    assert(socket.sentBytes >= expected.length);
    for (const buffer of buffers) arena.give(buffer);
  },
);

eachCarrier(
  "pauseReading() stops input, resumeReading() tells of what was left",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
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
  },
);

eachCarrier("input left in a full buffer is told before more is received", async (carrier) => {
  const inputBytes = 8192;
  using rig = new Rig(await socketPair(), carrier, inputBytes);
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

eachCarrier(
  "closed(0) tells of the end of the stream, after all that came before it",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
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
  },
);

eachCarrier(
  "a broken connection is told to a writer, and owners get their memory back",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
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
  },
);

eachCarrier("finish() sends what is queued, then closes", async (carrier) => {
  using rig = new Rig(await socketPair(), carrier);
  rig.socket.write(pattern(50_000));
  rig.socket.finish();
  assertEquals(rig.receive(50_000), pattern(50_000));
  rig.turnUntil(() => rig.closedWith !== undefined);
  assertEquals(rig.closedWith, 0);
  assertEquals(recvBytes(rig.otherFd, new Uint8Array(1)), 0);
});

eachCarrier("an owner that closes the socket when it is told does no harm", async (carrier) => {
  using rig = new Rig(await socketPair(), carrier);
  const { socket, arena } = rig;
  const large = arena.take(20_000);
  socket.writeBuffer(large, 0, 20_000, { outputDone: () => socket.close() });
  socket.writeBuffer(large, 0, 20_000);
  rig.turnUntil(() => !socket.open);
  assertEquals(rig.closedWith, undefined);
  arena.give(large);
});

/** Runs a test with each cipher. */
function eachCipher(name: string, test: (carrier: CipherName) => Promise<void>): void {
  for (const carrier of availableCiphers()) Deno.test(`${carrier}: ${name}`, () => test(carrier));
}

/** Remembers all that the rig's socket takes in. */
function collect(rig: Rig): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  const { socket } = rig;
  rig.received = () => {
    pieces.push(socket.input.slice(socket.start, socket.end));
    socket.consume(socket.end - socket.start);
  };
  return pieces;
}

eachCipher("records may be split anywhere", async (carrier) => {
  using rig = new Rig(await socketPair(), carrier);
  const pieces = collect(rig);
  let gotBytes = 0;
  const stream = joined([1, 2, 3].map((seed) => rig.carried(pattern(20, seed))));
  const splits = stream.length - 1;
  for (let cut = 1; cut <= splits; cut++) {
    const records = cut === 1
      ? stream
      : joined([1, 2, 3].map((seed) => rig.carried(pattern(20, seed))));
    rig.sendRaw(records.slice(0, cut));
    rig.reactor.turn(1);
    rig.sendRaw(records.slice(cut));
    gotBytes += 60;
    rig.turnUntil(() => rig.socket.receivedBytes === gotBytes);
  }
  const expected = joined([1, 2, 3].map((seed) => pattern(20, seed)));
  assertEquals(joined(pieces), joined(Array.from({ length: splits }, () => expected)));
});

/** What somebody on the way makes of three records. */
const ATTACKS: Record<string, (records: Uint8Array[]) => Uint8Array[]> = {
  "changes a byte": ([one = NONE, two = NONE]) => [one, two.with(9, (two[9] ?? 0) ^ 1)],
  "changes a length": ([one = NONE, two = NONE]) => [one, two.with(0, (two[0] ?? 0) - 1)],
  "changes a length beyond the limit": ([one = NONE, two = NONE]) => [one, two.with(3, 1)],
  "repeats a record": ([one = NONE]) => [one, one],
  "leaves a record out": ([one = NONE, , three = NONE]) => [one, three],
  "swaps two records": ([one = NONE, two = NONE, three = NONE]) => [one, three, two],
  "adds a byte": ([one = NONE, two = NONE]) => [
    one,
    Uint8Array.of(0),
    two,
    new Uint8Array(20_000), // What is a length now wants more than there was.
  ],
  "takes the last byte of a record away": ([one = NONE, two = NONE, three = NONE]) => [
    one,
    two.subarray(0, -1),
    three,
  ],
  "sends what is no record": ([one = NONE]) => [one, new Uint8Array(100).fill(0x41)],
};
const NONE = new Uint8Array(0);

for (const [what, attack] of Object.entries(ATTACKS)) {
  eachCipher(`who ${what} ends the connection, and nothing of it is received`, async (carrier) => {
    using rig = new Rig(await socketPair(), carrier);
    const pieces = collect(rig);
    const records = [1, 2, 3].map((seed) => rig.carried(pattern(50, seed)));
    rig.sendRaw(joined(attack(records)));
    rig.turnUntil(() => rig.closedWith !== undefined);
    assertEquals(rig.closedWith, RECORD_ERRNO);
    assertEquals(joined(pieces), pattern(50, 1));
  });
}

eachCipher("a stream that ends within a record is a lost connection", async (carrier) => {
  for (const missingBytes of [1, 60]) {
    using rig = new Rig(await socketPair(), carrier);
    const pieces = collect(rig);
    const records = joined([1, 2].map((seed) => rig.carried(pattern(50, seed))));
    rig.sendRaw(records.slice(0, -missingBytes));
    rig.closeOther();
    rig.turnUntil(() => rig.closedWith !== undefined);
    assertEquals(rig.closedWith, 0);
    assertEquals(joined(pieces), pattern(50, 1));
  }
});

eachCipher("what is sent cannot be read on the way", async (carrier) => {
  using rig = new Rig(await socketPair(), carrier);
  rig.socket.write(new Uint8Array(1000).fill(0x61));
  const chunk = new Uint8Array(4096);
  let got = 0;
  rig.turnUntil(() => (got = recvBytes(rig.otherFd, chunk)) > 0);
  assertEquals(got, 1000 + 20);
  assert(!String(chunk.subarray(0, got)).includes("97,97,97"));
});

eachCipher("many small messages leave in few records", async (carrier) => {
  using rig = new Rig(await socketPair(), carrier);
  for (let count = 0; count < 100; count++) rig.socket.write(pattern(100));
  rig.turnUntil(() => rig.socket.queuedBytes === 0);
  assertEquals(rig.socket.sentBytes, 100 * 100 + 20);
});

eachCipher(
  "a socket that is read late goes on where it stopped, though the kernel has no more",
  async (carrier) => {
    using rig = new Rig(await socketPair(), carrier, 4096);
    const { socket } = rig;
    const pieces: Uint8Array[] = [];
    rig.received = () => {
      pieces.push(socket.input.slice(socket.start, socket.end));
      socket.consume(socket.end - socket.start);
      socket.pauseReading();
    };
    rig.send(pattern(60_000)); // One record, of which the input takes 4096 bytes at a time.
    for (let count = 1; count <= 15; count++) {
      rig.turnUntil(() => pieces.length === count);
      assert(socket.paused);
      socket.resumeReading();
    }
    assertEquals(joined(pieces), pattern(60_000));
  },
);
