/**
 * The NBD front over real sockets in a real loop, in one thread with the clients that test it.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Arena } from "../../ffi/memory.ts";
import { closeSocket, recvBytes, sendBytes, shutdownSocket } from "../../ffi/socket.ts";
import { ERRNO } from "../../base/errno.ts";
import { FrontNbd } from "../../hastd/front_nbd.ts";
import { Reactor } from "../../hastd/reactor.ts";
import { MemoryTarget } from "./memory_target.ts";
import {
  clientFlags,
  infoData,
  join,
  metaData,
  option,
  request,
  type WireChunk,
  WireReader,
  type WireRequest,
} from "./nbd_wire.ts";
import { socketPair } from "./socket_pair.ts";

const MIB = 1024 * 1024;
const DEADLINE_MS = 10_000;

/** How a rig is made. */
export interface RigOptions {
  sizeBytes?: number;
  dataBytes?: number;
  fastZero?: boolean;
  bufferBytesMax?: number;
  arenaBytes?: number;
  stallMs?: number;
}

/** A front with a disk in memory. */
export class NbdRig implements Disposable {
  readonly reactor = new Reactor();
  readonly arena: Arena;
  readonly target: MemoryTarget;
  readonly front: FrontNbd;
  readonly warnings: string[] = [];
  readonly #clients: NbdTestClient[] = [];

  constructor(options: RigOptions = {}) {
    this.arena = new Arena(options.arenaBytes ?? 512 * MIB);
    this.target = new MemoryTarget(this.arena, options.sizeBytes ?? 48 * MIB, options);
    this.front = new FrontNbd({
      name: "disk",
      description: "A disk",
      target: this.target,
      reactor: this.reactor,
      buffers: this.arena,
      log: {
        error: () => {},
        warning: (message) => this.warnings.push(message),
        info: () => {},
        debug: () => {},
      },
      bufferBytesMax: options.bufferBytesMax,
      stallMs: options.stallMs,
    });
  }

  /** A connection on which nothing was said yet. */
  async connect(): Promise<NbdTestClient> {
    const [fd, clientFd] = await socketPair();
    this.front.addConnection(fd);
    const client = new NbdTestClient(this, clientFd);
    this.#clients.push(client);
    return client;
  }

  /** A connection in the transmission phase. */
  async enter(kind: "simple" | "structured" = "structured"): Promise<NbdTestClient> {
    const client = await this.connect();
    client.negotiate(kind);
    return client;
  }

  turnUntil(what: string, condition: () => boolean): void {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (!condition()) {
      assert(performance.now() < deadlineMs, `in vain: ${what}`);
      this.reactor.turn(5);
    }
  }

  /** Takes turns until nothing more happens by itself. */
  settle(): void {
    for (let turn = 0; turn < 20; turn++) this.reactor.turn(1);
  }

  /** Ends everything: no memory and no connection may be left. */
  [Symbol.dispose](): void {
    this.front.close();
    for (const client of this.#clients) client.close();
    this.target.mode = "now";
    this.target.complete();
    this.reactor.turn(0);
    assertEquals(this.front.connectionCount, 0);
    assertEquals(this.front.shared.budget.heldBytes, 0);
    assertEquals(this.front.shared.underWayCount, 0);
    assertEquals(this.arena.takenBytes, 0);
  }
}

/** A client that takes turns of the loop whenever it would have to wait. */
export class NbdTestClient {
  readonly reader = new WireReader();
  readonly #rig: NbdRig;
  readonly #fd: number;
  readonly #received = new Uint8Array(MIB);
  #ended = false;
  #closed = false;

  constructor(rig: NbdRig, fd: number) {
    this.#rig = rig;
    this.#fd = fd;
  }

  /** From the greeting to the transmission phase. */
  negotiate(kind: "simple" | "structured"): void {
    const structured = kind === "structured"
      ? [option(8), option(10, metaData("disk", ["base:allocation"]))]
      : [];
    this.send(clientFlags(3), ...structured, option(7, infoData("disk", [3])));
    this.take(18);
    const types: number[] = [];
    const wanted = kind === "structured" ? [1, 4, 1, 3, 3, 1] : [3, 3, 1];
    this.#rig.turnUntil("negotiation", () => {
      this.receive();
      types.push(...this.reader.optionReplies().map(([, type]) => type));
      return types.length >= wanted.length;
    });
    assertEquals(types, wanted);
  }

  /** Sends everything, taking turns while the kernel has no room. */
  send(...parts: (Uint8Array<ArrayBuffer>)[]): void {
    const bytes = join(...parts);
    this.#rig.turnUntil("sending", () => this.trySend(bytes) === bytes.length);
  }

  #sent = new WeakMap<Uint8Array, number>();

  /** Sends what the kernel takes now. Returns how much of `bytes` has been sent so far. */
  trySend(bytes: Uint8Array<ArrayBuffer>): number {
    let at = this.#sent.get(bytes) ?? 0;
    while (at < bytes.length) {
      const sent = sendBytes(this.#fd, bytes.subarray(at));
      if (sent === -ERRNO.EAGAIN) break;
      assert(sent > 0, `the server has ended the connection: ${-sent}`);
      at += sent;
    }
    this.#sent.set(bytes, at);
    return at;
  }

  request(...wanted: WireRequest[]): void {
    this.send(...wanted.map(request));
  }

  /** Receives what there is now. */
  receive(): void {
    for (;;) {
      const got = recvBytes(this.#fd, this.#received);
      if (got === -ERRNO.EAGAIN) return;
      if (got <= 0) {
        this.#ended = true;
        return;
      }
      this.reader.push(this.#received.subarray(0, got));
    }
  }

  take(byteCount: number): Uint8Array {
    return this.#wait(`${byteCount} bytes`, () => this.reader.take(byteCount));
  }

  simpleReply(dataBytes = 0): { error: number; cookie: bigint; data: Uint8Array } {
    return this.#wait("a simple reply", () => this.reader.simpleReply(dataBytes));
  }

  chunk(): WireChunk {
    return this.#wait("a chunk", () => this.reader.chunk());
  }

  /** The error of the next reply in one chunk: 0 for success. */
  error(): number {
    const chunk = this.chunk();
    assert(chunk.done, "the reply has one chunk");
    if (chunk.type === 0) return 0;
    assert(chunk.type >= 0x8000, `an error chunk, not type ${chunk.type}`);
    return new DataView(chunk.payload.buffer, chunk.payload.byteOffset).getUint32(0);
  }

  /** Data of a READ in one chunk or several, which must cover the range once. */
  data(offsetBytes: number, lengthBytes: number): Uint8Array {
    const data = new Uint8Array(lengthBytes);
    let coveredBytes = 0;
    for (let done = false; !done;) {
      const chunk = this.chunk();
      assertEquals(chunk.type, 1);
      const { payload } = chunk;
      const at = Number(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0));
      data.set(payload.subarray(8), at - offsetBytes);
      coveredBytes += payload.length - 8;
      done = chunk.done;
    }
    assertEquals(coveredBytes, lengthBytes);
    return data;
  }

  /** The server has ended the connection, and everything that it sent is read. */
  get ended(): boolean {
    this.receive();
    return this.#ended;
  }

  waitForEnd(): void {
    this.#rig.turnUntil("the end of the connection", () => this.ended);
  }

  /** Sends no more. */
  finishSending(): void {
    shutdownSocket(this.#fd, "write");
  }

  close(): void {
    if (!this.#closed) closeSocket(this.#fd);
    this.#closed = true;
  }

  #wait<T>(what: string, next: () => T | undefined): T {
    let result: T | undefined;
    this.#rig.turnUntil(what, () => {
      result = next();
      if (result !== undefined) return true;
      const wasEnded = this.#ended;
      this.receive();
      assert(!wasEnded, `the server has ended the connection instead of sending ${what}`);
      return false;
    });
    assert(result !== undefined);
    return result;
  }
}
