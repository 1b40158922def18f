/**
 * A secondary played by a test: it takes part in the handshake and then answers what, and when, the
 * test says. Shares no code with the program.
 *
 * Source: wire.md, handshake, requests and replies.
 * @module
 */
import { assert } from "@std/assert";
import type { Node } from "./cluster.ts";
import { type Entry, type Fields, frame, FrameConn } from "./hast_wire.ts";

const COMMAND = { write: 2n, flush: 4n, keepalive: 5n } as const;
const TOKEN = Uint8Array.from({ length: 16 }, (_, index) => index);

export interface ScriptOptions {
  /** What the first answer says; left out of it where undefined. */
  version?: number;
  /** The size of the data as the secondary has it. */
  dataBytes: number;
  extentBytes?: number;
}

/** See the module. It listens where `node` would. */
export class ScriptedSecondary implements Disposable {
  readonly #listener: Deno.TcpListener;
  readonly #conns: FrameConn[] = [];
  #requests: FrameConn | undefined = undefined;
  #replies: FrameConn | undefined = undefined;
  #version = 2;

  constructor(node: Node) {
    this.#listener = Deno.listen({ hostname: node.address, port: node.port });
  }

  /** Lets the primary connect and tells it that this node was never used. */
  async handshake(options: ScriptOptions): Promise<void> {
    const { dataBytes, extentBytes = 2 * 1024 * 1024 } = options;
    const first = await this.#accept();
    assert((await first.receive())?.get("version") === 2n, "the primary says its version");
    this.#version = options.version ?? 2;
    const answer: Entry[] = [["version", "uint8", this.#version], ["token", "bytes", TOKEN]];
    await first.send(frame(answer, this.#version));
    const second = await this.#accept();
    assert((await second.receive())?.has("resuid"), "the primary says what it holds");
    await first.send(frame([
      ["datasize", "int64", dataBytes],
      ["extentsize", "int32", extentBytes],
      ["localcnt", "uint64", 0],
      ["remotecnt", "uint64", 0],
      ["virgin", "int8", 1],
      ["syncsrc", "uint8", 1],
      ["mapsize", "uint32", 0],
    ], this.#version));
    this.#requests = first;
    this.#replies = second;
  }

  /** The next request that is neither a flush, which is answered, nor a keep-alive. */
  async next(): Promise<Fields> {
    for (;;) {
      const request = await this.#requests?.receive();
      assert(request !== undefined, "the primary sends a request");
      const command = request.get("cmd");
      if (command === COMMAND.flush) await this.reply(request);
      else if (command !== COMMAND.keepalive) return request;
    }
  }

  /** Answers a request: with `more`, such as an error, beside its number. */
  async reply(request: Fields, ...more: Entry[]): Promise<void> {
    const seq = request.get("seq");
    assert(typeof seq === "bigint", "a request has a number");
    await this.send([["seq", "uint64", seq], ...more]);
  }

  /** Sends a reply of any kind, right or wrong. */
  async send(entries: Entry[], data?: Uint8Array): Promise<void> {
    await this.#replies?.send(frame(entries, this.#version, data));
  }

  /** Ends both connections; the next handshake may begin. */
  hangUp(): void {
    for (const conn of this.#conns.splice(0)) conn[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.hangUp();
    this.#listener.close();
  }

  async #accept(): Promise<FrameConn> {
    const conn = new FrameConn(await this.#listener.accept());
    this.#conns.push(conn);
    return conn;
  }
}
