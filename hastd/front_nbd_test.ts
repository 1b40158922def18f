import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { UserCommand } from "../core/request.ts";
import { NBD_CMD, NBD_CMD_FLAG, NBD_ERROR } from "../protocol/nbd.ts";
import { NbdRig, type NbdTestClient } from "../tests/support/nbd_rig.ts";
import {
  clientFlags,
  infoData,
  join,
  option,
  request,
  type WireRequest,
} from "../tests/support/nbd_wire.ts";
import { Random } from "../tests/support/random.ts";
import { NBD_CONNECTIONS_MAX } from "./front_nbd.ts";
import { NBD_REQUESTS_IN_FLIGHT_MAX } from "./nbd_connection.ts";

const KIB = 1024;
const MIB = 1024 * 1024;
const { read, write, disc, flush, trim, cache, writeZeroes, blockStatus } = NBD_CMD;
const { fua, noHole, df, reqOne, fastZero } = NBD_CMD_FLAG;

function pattern(byteCount: number, seed = 7): Uint8Array<ArrayBuffer> {
  return new Random(seed).bytes(byteCount);
}

/** Compares megabytes without the cost of a difference. */
function same(actual: Uint8Array, expected: Uint8Array): void {
  assertEquals(actual.length, expected.length);
  assert(actual.every((byte, index) => byte === expected[index]), "the bytes differ");
}

Deno.test("FrontNbd writes and reads, with either kind of reply and every size", async () => {
  using rig = new NbdRig();
  const simple = await rig.enter("simple");
  const structured = await rig.enter("structured");
  for (
    const size of [512, 4 * KIB, 64 * KIB, 64 * KIB + 512, 128 * KIB, MIB, MIB + 512, 32 * MIB]
  ) {
    const offset = 1536;
    const payload = pattern(size, size);
    structured.request({ command: write, cookie: 5, offset, payload });
    assertEquals(structured.error(), 0);
    same(rig.target.data.subarray(offset, offset + size), payload);
    simple.request({ command: read, cookie: 2n ** 63n + 1n, offset, length: size });
    const reply = simple.simpleReply(size);
    assertEquals([reply.error, reply.cookie], [0, 2n ** 63n + 1n]);
    same(reply.data, payload);
    structured.request({ command: read, offset, length: size });
    same(structured.data(offset, size), payload);
    structured.request({ command: read, flags: df, offset, length: size });
    const chunk = structured.chunk();
    assertEquals([chunk.done, chunk.type, chunk.payload.length], [true, 1, size + 8]);
    same(chunk.payload.subarray(8), payload);
  }
});

Deno.test("FrontNbd hands on what the command and its flags mean", async () => {
  using rig = new NbdRig();
  const client = await rig.enter();
  const table: [WireRequest, UserCommand, boolean][] = [
    [{ command: write, payload: pattern(512) }, UserCommand.write, false],
    [{ command: write, flags: fua, payload: pattern(512) }, UserCommand.write, true],
    [{ command: trim, length: 512 }, UserCommand.delete, false],
    [{ command: trim, flags: fua, length: 512 }, UserCommand.delete, true],
    [{ command: writeZeroes, length: 512 }, UserCommand.zero, false],
    [{ command: writeZeroes, flags: fua, length: 512 }, UserCommand.zero, true],
    [{ command: writeZeroes, flags: fastZero, length: 512 }, UserCommand.zero, false],
    [{ command: writeZeroes, flags: noHole | fua, length: 512 }, UserCommand.write, true],
    [{ command: flush }, UserCommand.flush, false],
  ];
  for (const [wanted, command, withFua] of table) {
    rig.target.submitted.length = 0;
    client.request(wanted);
    assertEquals(client.error(), 0);
    const lengthBytes = command === UserCommand.flush ? 0 : 512;
    assertEquals(rig.target.submitted, [{ command, offsetBytes: 0, lengthBytes, fua: withFua }]);
  }
});

Deno.test("FrontNbd writes zeros where holes are not wanted", async () => {
  using rig = new NbdRig();
  rig.target.data.fill(0xaa);
  const client = await rig.enter();
  const length = 20 * MIB + 512;
  client.request({ command: writeZeroes, flags: noHole, offset: 512, length });
  assertEquals(client.error(), 0);
  const { data, submitted } = rig.target;
  assert(submitted.every(({ command }) => command === UserCommand.write));
  assertEquals([data[511], data[512], data[511 + length], data[512 + length]], [0xaa, 0, 0, 0xaa]);
  assert(data.subarray(512, 512 + length).every((byte) => byte === 0));
});

Deno.test("FrontNbd cuts what is without data as well, and covers all of it", async () => {
  using rig = new NbdRig({ sizeBytes: 2 ** 40, dataBytes: 0 });
  const client = await rig.enter();
  for (const mode of ["now", "held"] as const) {
    rig.target.mode = mode;
    for (const command of [trim, writeZeroes]) {
      rig.target.submitted.length = 0;
      const length = 2 ** 32 - 512;
      client.request({ command, offset: 2 ** 39, length });
      if (mode === "held") {
        rig.turnUntil("all pieces", () => {
          rig.target.complete();
          return rig.target.submitted.length === 128;
        });
        rig.target.complete();
      }
      assertEquals(client.error(), 0);
      let at = 2 ** 39;
      for (const { offsetBytes, lengthBytes } of rig.target.submitted) {
        assertEquals(offsetBytes, at);
        assert(lengthBytes <= 32 * MIB);
        at += lengthBytes;
      }
      assertEquals(at, 2 ** 39 + length);
    }
  }
});

Deno.test("FrontNbd refuses bad requests and keeps the connection", async () => {
  using rig = new NbdRig({ fastZero: false });
  const size = rig.target.sizeBytes;
  const { einval, enospc, enotsup, eoverflow } = NBD_ERROR;
  const table: [WireRequest, number][] = [
    [{ command: read, offset: size, length: 512 }, einval],
    [{ command: read, offset: 2n ** 64n - 512n, length: 512 }, einval],
    [{ command: read, offset: 1, length: 512 }, einval],
    [{ command: read, length: 0 }, einval],
    [{ command: read, length: 33 * MIB }, eoverflow],
    [{ command: write, offset: size, payload: pattern(MIB) }, enospc],
    [{ command: write, offset: 1, payload: pattern(512) }, einval],
    [{ command: write, payload: pattern(100) }, einval],
    [{ command: write }, einval],
    [{ command: write, flags: df, payload: pattern(4096) }, einval],
    [{ command: write, payload: pattern(33 * MIB) }, einval],
    [{ command: trim, offset: size - 512, length: 1024 }, einval],
    [{ command: writeZeroes, offset: size - 512, length: 1024 }, enospc],
    [{ command: writeZeroes, flags: fastZero, length: 512 }, enotsup],
    [{ command: flush, length: 512 }, einval],
    [{ command: cache, offset: size, length: 512 }, einval],
    [{ command: blockStatus, offset: size, length: 512 }, einval],
    [{ command: 8, length: 512 }, einval],
    [{ command: 0xffff }, einval],
  ];
  const structured = await rig.enter("structured");
  const simple = await rig.enter("simple");
  for (const [wanted, expected] of table) {
    structured.request({ ...wanted, cookie: 77 });
    assertEquals(structured.error(), expected);
    simple.request({ ...wanted, cookie: 78 });
    const { error, cookie } = simple.simpleReply();
    assertEquals([error, cookie], [expected === eoverflow ? einval : expected, 78n]);
  }
  assertEquals(rig.target.submitted, []);
  structured.request({ command: read, length: 512 });
  assertEquals(structured.data(0, 512).length, 512);
});

Deno.test("FrontNbd refuses what was not negotiated", async () => {
  using rig = new NbdRig();
  const client = await rig.enter("simple");
  for (const wanted of [{ command: read, flags: df }, { command: blockStatus }]) {
    client.request({ ...wanted, length: 512 });
    assertEquals(client.simpleReply().error, NBD_ERROR.einval);
  }
});

Deno.test("FrontNbd ends a connection that is out of step", async () => {
  using rig = new NbdRig();
  const client = await rig.enter();
  const other = await rig.enter();
  client.request({ command: read, length: 512, magic: 0x25609514 });
  client.waitForEnd();
  assertEquals([client.reader.leftBytes, rig.front.connectionCount], [0, 1]);
  other.request({ command: flush });
  assertEquals(other.error(), 0);
});

Deno.test("FrontNbd translates the target's errors", async () => {
  using rig = new NbdRig();
  const simple = await rig.enter("simple");
  const structured = await rig.enter("structured");
  const table: [number, number][] = [
    [ERRNO.EIO, 5],
    [ERRNO.ENXIO, 5],
    [ERRNO.ENOSPC, 28],
    [ERRNO.EROFS, 1],
    [ERRNO.EOPNOTSUPP, 22],
    [ERRNO.ESHUTDOWN, 108],
  ];
  const requests: WireRequest[] = [
    { command: read, length: 512 },
    { command: read, length: 8 * MIB },
    { command: write, payload: pattern(512) },
    { command: write, payload: pattern(4 * MIB) },
    { command: trim, length: 512 },
    { command: writeZeroes, length: 512 },
    { command: writeZeroes, flags: noHole, length: 40 * MIB },
    { command: flush },
  ];
  for (const [errno, expected] of table) {
    rig.target.errnoOf = () => errno;
    for (const wanted of requests) {
      simple.request(wanted);
      assertEquals(simple.simpleReply().error, expected);
      if (wanted.command === read) continue;
      structured.request(wanted);
      assertEquals(structured.error(), expected);
    }
  }
});

Deno.test("FrontNbd says where a long READ failed, and ends the reply once", async () => {
  using rig = new NbdRig();
  rig.target.mode = "held";
  rig.target.errnoOf = ({ offsetBytes }) => offsetBytes === 2 * MIB ? ERRNO.EIO : 0;
  const orders: ((held: unknown[]) => boolean)[] = [() => false, () => true];
  for (const reversed of orders) {
    const client = await rig.enter();
    client.request({ command: read, length: 4 * MIB });
    rig.turnUntil("all pieces", () => rig.target.held.length === 4);
    rig.target.complete((held) => reversed(held) ? held.reverse() : held);
    const types: number[] = [];
    for (let done = false; !done;) {
      const chunk = client.chunk();
      types.push(chunk.type);
      if (chunk.type === 0x8002) {
        const view = new DataView(chunk.payload.buffer, chunk.payload.byteOffset);
        assertEquals(view.getUint32(0), NBD_ERROR.eio);
        assertEquals(view.getBigUint64(6 + view.getUint16(4)), BigInt(2 * MIB));
      }
      done = chunk.done;
    }
    assertEquals(types, reversed([]) ? [1, 0x8002, 1, 1] : [1, 1, 0x8002, 1]);
    client.request({ command: cache, length: 512 });
    assertEquals(client.error(), 0); // Nothing came behind the last chunk.
  }
});

Deno.test("FrontNbd tells what is known of a range", async () => {
  using rig = new NbdRig({ sizeBytes: 2 ** 40, dataBytes: 0 });
  const client = await rig.enter();
  const status = (wanted: Partial<WireRequest>) => {
    client.request({ command: blockStatus, offset: 2 ** 38, length: 2 ** 32 - 512, ...wanted });
    const { done, type, payload } = client.chunk();
    assertEquals([done, type], [true, 5]);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const words: number[] = [];
    for (let at = 0; at < payload.length; at += 4) words.push(view.getUint32(at));
    return words;
  };
  assertEquals(status({}), [1, 2 ** 32 - 65536, 0]);
  assertEquals(status({ length: 4096, flags: reqOne }), [1, 4096, 0]);
  rig.target.blockStatus = (offset, length, countMax) => {
    assertEquals(offset, 2 ** 38);
    const extents = [{ lengthBytes: 4096, state: 0 }, { lengthBytes: length - 4096, state: 3 }];
    return extents.slice(0, countMax);
  };
  assertEquals(status({ length: 12288 }), [1, 4096, 0, 8192, 3]);
  assertEquals(status({ length: 12288, flags: reqOne }), [1, 4096, 0]);
});

Deno.test("FrontNbd passes CACHE on", async () => {
  using rig = new NbdRig();
  const client = await rig.enter();
  client.request({ command: cache, offset: 512, length: 1024 });
  assertEquals(client.error(), 0);
  assertEquals(rig.target.cached, [[512, 1024]]);
});

Deno.test("FrontNbd answers in the order of completion", async () => {
  using rig = new NbdRig();
  rig.target.mode = "held";
  const client = await rig.enter("simple");
  client.request(
    { command: read, cookie: 1, length: 512 },
    { command: flush, cookie: 2 },
    { command: write, cookie: 3, payload: pattern(512) },
  );
  rig.turnUntil("three requests", () => rig.target.held.length === 3);
  rig.target.complete((held) => held.reverse());
  assertEquals(client.simpleReply().cookie, 3n);
  assertEquals(client.simpleReply().cookie, 2n);
  assertEquals(client.simpleReply(512).cookie, 1n);
});

Deno.test("FrontNbd leaves requests beyond the limit unread until others are done", async () => {
  using rig = new NbdRig();
  rig.target.mode = "held";
  const client = await rig.enter("simple");
  const count = NBD_REQUESTS_IN_FLIGHT_MAX + 44;
  const requests = Array.from({ length: count }, (_, cookie) => ({ command: flush, cookie }));
  client.request(...requests);
  rig.settle();
  assertEquals(rig.target.held.length, NBD_REQUESTS_IN_FLIGHT_MAX);
  rig.target.complete();
  rig.turnUntil("the rest", () => rig.target.held.length === 44);
  rig.target.complete();
  for (let cookie = 0; cookie < count; cookie++) {
    assertEquals(client.simpleReply().cookie, BigInt(cookie));
  }
});

Deno.test("FrontNbd carries out what came before DISC, answers it and ends", async () => {
  for (const finishes of [true, false]) {
    using rig = new NbdRig();
    rig.target.mode = "held";
    const client = await rig.enter("simple");
    client.request(
      { command: write, cookie: 9, payload: pattern(2 * MIB) },
      { command: disc },
      { command: write, cookie: 10, payload: pattern(512) },
    );
    if (finishes) client.finishSending();
    rig.turnUntil("two pieces", () => rig.target.held.length === 2);
    rig.settle();
    assertEquals(rig.front.connectionCount, 1);
    rig.target.complete();
    assertEquals(client.simpleReply(), { error: 0, cookie: 9n, data: new Uint8Array(0) });
    client.waitForEnd();
    assertEquals([rig.front.connectionCount, client.reader.leftBytes], [0, 0]);
    assertEquals(rig.target.submitted.length, 2);
  }
});

Deno.test("FrontNbd forgets a client that goes away in the middle of anything", async () => {
  for (const kind of ["simple", "structured"] as const) {
    const whole = [
      { command: read, length: 8 * MIB },
      { command: write, payload: pattern(3 * MIB) },
      { command: writeZeroes, length: 40 * MIB },
    ].map(request);
    for (
      const sentBytes of [10, 28, 40, 56, 56 + 100 * KIB, 56 + 2 * MIB, 56 + 3 * MIB, 84 + 3 * MIB]
    ) {
      for (const mode of ["now", "held"] as const) {
        using rig = new NbdRig();
        rig.target.mode = mode;
        const client = await rig.enter(kind);
        client.send(join(...whole).slice(0, sentBytes));
        client.close();
        rig.turnUntil("the end", () => rig.front.connectionCount === 0);
      }
    }
  }
});

Deno.test("FrontNbd counts connections, and makes room by those that say nothing", async () => {
  using rig = new NbdRig();
  const silent = await rig.connect();
  const working: NbdTestClient[] = [];
  while (working.length < NBD_CONNECTIONS_MAX - 1) working.push(await rig.enter("simple"));
  assertEquals(rig.front.connectionCount, NBD_CONNECTIONS_MAX);
  working.push(await rig.enter("simple"));
  silent.waitForEnd();
  assertEquals(rig.front.connectionCount, NBD_CONNECTIONS_MAX);
  const oneTooMany = await rig.connect();
  oneTooMany.waitForEnd();
  assertEquals(oneTooMany.reader.leftBytes, 0);
  for (const client of working) {
    client.request({ command: flush });
    assertEquals(client.simpleReply().error, 0);
  }
});

// ---- memory ----

Deno.test("FrontNbd bounds what one client fills, and goes on when it reads", async () => {
  using rig = new NbdRig();
  const client = await rig.enter();
  const count = 24;
  fill(rig, client, count);
  assertEquals(rig.front.shared.budget.heldBytes, 64 * MIB);
  rig.settle();
  for (let index = 0; index < count; index++) {
    let coveredBytes = 0;
    while (coveredBytes < 8 * MIB) coveredBytes += client.chunk().payload.length - 8;
  }
  assertEquals(rig.front.shared.budget.heldBytes, 0);
});

Deno.test("FrontNbd bounds small unread replies too", async () => {
  using rig = new NbdRig();
  const client = await rig.enter("simple");
  const reads = join(
    ...Array.from({ length: 20_000 }, () => request({ command: read, length: 4 * KIB })),
  );
  for (let turn = 0; turn < 300; turn++) {
    client.trySend(reads);
    rig.reactor.turn(1);
  }
  const takenBytes = rig.arena.takenBytes;
  assert(takenBytes < 16 * MIB, `${takenBytes} bytes are taken`);
  let count = 0;
  while (count < 20_000) {
    client.trySend(reads);
    assertEquals(client.simpleReply(4 * KIB).error, 0);
    count++;
  }
});

/** A client asks for more than it may have at a time; it gets it, and does not read it yet. */
function fill(rig: NbdRig, client: NbdTestClient, count: number): void {
  rig.target.mode = "held";
  const before = rig.front.shared.budget.heldBytes;
  for (let index = 0; index < count; index++) client.request({ command: read, length: 8 * MIB });
  rig.turnUntil("memory", () => rig.front.shared.budget.heldBytes >= before + 64 * MIB);
  rig.settle();
  rig.target.mode = "now";
  rig.target.complete();
}

/** Clients that read nothing: all memory is theirs. */
async function fillMemory(rig: NbdRig): Promise<NbdTestClient[]> {
  const clients = [await rig.enter(), await rig.enter()];
  for (const client of clients) fill(rig, client, 12);
  assertEquals(rig.front.shared.budget.heldBytes, 128 * MIB);
  return clients;
}

Deno.test("FrontNbd serves others while some sit on all memory", async () => {
  using rig = new NbdRig();
  await fillMemory(rig);
  for (const kind of ["simple", "structured"] as const) {
    const other = await rig.enter(kind);
    const payload = pattern(4 * MIB);
    other.request({ command: write, offset: MIB, payload });
    const error = kind === "simple" ? other.simpleReply().error : other.error();
    assertEquals(error, 0);
    same(rig.target.data.subarray(MIB, 5 * MIB), payload);
    const length = kind === "simple" ? 64 * KIB : 4 * MIB;
    other.request({ command: read, offset: MIB, length });
    const data = kind === "simple" ? other.simpleReply(length).data : other.data(MIB, length);
    same(data, payload.subarray(0, length));
  }
  assertEquals(rig.front.connectionCount, 4);
});

Deno.test("FrontNbd ends clients that do nothing while others wait for their memory", async () => {
  using rig = new NbdRig({ stallMs: 200 });
  await fillMemory(rig);
  const other = await rig.enter("simple");
  other.request({ command: read, length: 32 * MIB });
  assertEquals(other.simpleReply(32 * MIB).error, 0);
  assert(rig.front.connectionCount < 3);
  assert(rig.warnings.length > 0);
});

Deno.test("FrontNbd does not keep a place in the line for a client that has gone", async () => {
  using rig = new NbdRig();
  const greedy = await fillMemory(rig);
  const impatient = await rig.enter("simple");
  impatient.request({ command: read, length: 32 * MIB });
  rig.turnUntil("the line", () => rig.front.shared.budget.contended);
  impatient.close();
  const other = await rig.enter("simple");
  other.request({ command: read, length: 32 * MIB });
  rig.turnUntil("the end", () => rig.front.connectionCount === 3);
  for (const client of greedy) client.close();
  assertEquals(other.simpleReply(32 * MIB).error, 0);
});

Deno.test("FrontNbd leaves slow clients alone while nobody waits", async () => {
  using rig = new NbdRig({ stallMs: 1 });
  const client = await rig.enter();
  client.request({ command: read, length: 8 * MIB }, { command: read, length: 8 * MIB });
  rig.settle();
  assertEquals(rig.front.connectionCount, 1);
  assertEquals(rig.warnings, []);
});

Deno.test("FrontNbd waits for memory that the core still has", async () => {
  using rig = new NbdRig({ arenaBytes: 32 * MIB, bufferBytesMax: 64 * MIB });
  const client = await rig.enter();
  const taken = [];
  for (let buffer = rig.arena.tryTake(MIB); buffer !== undefined; buffer = rig.arena.tryTake(MIB)) {
    taken.push(buffer);
  }
  for (let buffer = rig.arena.tryTake(4 * KIB); buffer !== undefined;) {
    taken.push(buffer);
    buffer = rig.arena.tryTake(4 * KIB);
  }
  client.send(request({ command: write, payload: pattern(MIB) }));
  rig.settle();
  assertEquals(rig.target.submitted, []);
  for (const buffer of taken) rig.arena.give(buffer); // Nobody tells the front.
  assertEquals(client.error(), 0);
});

// ---- shutdown ----

Deno.test("FrontNbd shuts down: answers what is under way, refuses the rest, ends", async () => {
  using rig = new NbdRig();
  rig.target.mode = "held";
  let closedCount = 0;
  const busy = await rig.enter("simple");
  const idle = await rig.enter("structured");
  const negotiating = await rig.connect();
  const halfway = await rig.enter("structured");
  const waiting = await rig.enter("structured");
  busy.request({ command: write, cookie: 1, payload: pattern(512) });
  busy.request({ command: writeZeroes, cookie: 2, length: 40 * MIB });
  for (const client of [halfway, waiting]) {
    client.send(request({ command: write, cookie: 3, payload: pattern(4096) }).slice(0, 1000));
  }
  rig.turnUntil("requests", () => rig.target.held.length === 3);
  rig.settle();
  rig.front.shutdown(() => closedCount++);
  rig.settle();
  halfway.send(request({ command: write, cookie: 3, payload: pattern(4096) }).slice(1000));
  assertEquals(halfway.error(), 108);
  busy.request({ command: write, cookie: 4, payload: pattern(512) }, { command: flush, cookie: 5 });
  negotiating.send(clientFlags(3), option(7, infoData("disk")));
  for (const cookie of [4n, 5n]) {
    assertEquals(busy.simpleReply(), { error: 108, cookie, data: new Uint8Array(0) });
  }
  negotiating.take(18);
  let refusals: number[] = [];
  rig.turnUntil("a refusal", () => {
    negotiating.receive();
    refusals = negotiating.reader.optionReplies().map(([, type]) => type);
    return refusals.length > 0;
  });
  assertEquals(refusals, [0x80000007]);
  assertEquals(closedCount, 0);
  rig.target.complete();
  assertEquals(busy.simpleReply(), { error: 0, cookie: 1n, data: new Uint8Array(0) });
  assertEquals(busy.simpleReply(), { error: 0, cookie: 2n, data: new Uint8Array(0) });
  assertEquals(waiting.error(), 108);
  for (const client of [busy, idle, negotiating, halfway, waiting]) client.waitForEnd();
  rig.turnUntil("the end of all", () => closedCount > 0);
  rig.settle();
  assertEquals([closedCount, rig.front.connectionCount], [1, 0]);
  assertEquals(rig.target.submitted.length, 3);
});

Deno.test("FrontNbd without clients shuts down at once, also by close()", () => {
  for (const end of ["shutdown", "close"]) {
    using rig = new NbdRig();
    let closedCount = 0;
    if (end === "close") rig.front.close();
    else {
      rig.front.shutdown(() => closedCount++);
      rig.turnUntil("the end", () => closedCount === 1);
    }
  }
});

Deno.test("FrontNbd in shutdown stops cutting a long request", async () => {
  using rig = new NbdRig({ sizeBytes: 2 ** 40, dataBytes: 0 });
  rig.target.mode = "held";
  const client = await rig.enter();
  client.request({ command: trim, length: 2 ** 32 - 512 });
  rig.turnUntil("pieces", () => rig.target.held.length === 8);
  rig.front.shutdown(() => {});
  rig.settle();
  rig.target.complete();
  assertEquals(client.error(), 108);
  client.waitForEnd();
  assertEquals(rig.target.submitted.length, 8);
});

Deno.test("FrontNbd in shutdown ends a READ in chunks with the error, not with data", async () => {
  using rig = new NbdRig();
  rig.target.mode = "held";
  const client = await rig.enter();
  client.request({ command: read, length: 32 * MIB });
  rig.turnUntil("pieces", () => rig.target.held.length === 8);
  rig.front.shutdown(() => {});
  rig.settle();
  rig.target.complete();
  for (let index = 0; index < 8; index++) {
    const { done, type } = client.chunk();
    assertEquals([done, type], [false, 1]);
  }
  assertEquals(client.error(), 108);
  client.waitForEnd();
});

Deno.test("FrontNbd closes at once when a client does not read in a shutdown", async () => {
  using rig = new NbdRig();
  let closedCount = 0;
  const client = await rig.enter();
  for (let count = 0; count < 4; count++) client.request({ command: read, length: 8 * MIB });
  rig.settle();
  rig.front.shutdown(() => closedCount++);
  rig.settle();
  assertEquals([closedCount, rig.front.connectionCount], [0, 1]);
  rig.front.close();
  assertEquals([closedCount, rig.front.connectionCount], [1, 0]);
});

// ---- streams ----

const TRANSCRIPT: WireRequest[] = [
  { command: write, cookie: 1, offset: 512, payload: pattern(1536) },
  { command: read, cookie: 2, offset: 512, length: 1536 },
  { command: 99, cookie: 3 },
  { command: write, cookie: 4, offset: 1, payload: pattern(512) },
  { command: writeZeroes, cookie: 5, length: 1024 },
  { command: flush, cookie: 6 },
  { command: blockStatus, cookie: 7, length: 4096 },
  { command: disc },
];

Deno.test("FrontNbd does not care how requests are cut", async () => {
  const bytes = join(...TRANSCRIPT.map(request));
  let expected: Uint8Array | undefined;
  const cuts = [bytes.length, ...Array.from({ length: 60 }, (_, index) => 1 + index * 3)];
  for (const pieceBytes of cuts) {
    using rig = new NbdRig();
    const client = await rig.enter();
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      client.send(bytes.slice(at, at + pieceBytes));
      rig.reactor.turn(0);
    }
    client.waitForEnd();
    const replies = client.reader.take(client.reader.leftBytes);
    expected ??= replies;
    assertEquals(replies, expected, `pieces of ${pieceBytes}`);
  }
  assert(expected !== undefined && expected.length > 1536);
});

Deno.test("FrontNbd ends cleanly at every truncation of a session", async () => {
  const negotiation = join(clientFlags(3), option(8), option(7, infoData("disk")));
  const bytes = join(negotiation, ...TRANSCRIPT.map(request));
  using rig = new NbdRig();
  for (let length = 0; length < bytes.length; length += length < 300 ? 7 : 97) {
    const client = await rig.connect();
    client.send(bytes.slice(0, length));
    client.finishSending();
    client.waitForEnd();
    client.close();
    assertEquals([rig.front.connectionCount, rig.arena.takenBytes], [0, 0], `${length} bytes`);
  }
});

Deno.test("FrontNbd survives random bytes, and keeps serving others", async () => {
  using rig = new NbdRig();
  const random = new Random(4711);
  const other = await rig.enter("simple");
  const transcript = join(...TRANSCRIPT.map(request));
  for (let round = 0; round < 150; round++) {
    const client = await (round % 3 === 0 ? rig.connect() : rig.enter());
    const changed = transcript.slice();
    for (let change = 0; change < 4; change++) {
      changed[random.below(changed.length)] = random.next();
    }
    client.send(round % 2 === 0 ? random.bytes(400) : changed);
    client.finishSending();
    client.waitForEnd();
    client.close();
    other.request({ command: flush });
    assertEquals(other.simpleReply().error, 0);
  }
  assertEquals(rig.front.connectionCount, 1);
});
