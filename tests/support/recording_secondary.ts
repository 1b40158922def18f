/**
 * A secondary played by a test, in the place of a node whose daemon does not run.
 *
 * It answers the handshake as the script says and collects what is asked; it answers requests only
 * where the test does so.
 *
 * Source: wire.md (handshake, requests, replies).
 * @module
 */
import { type Node, RESOURCE } from "./cluster.ts";
import { type Entry, type Fields, frame, FrameConn } from "./hast_wire.ts";
import { waitFor } from "./wait.ts";

/** Longer than any test: what the primary does not ask is not waited for in vain. */
const PATIENCE_MS = 600_000;

/** What the primary asked. */
export interface Asked {
  cmd: number;
  seq: bigint;
  offset: number;
  length: number;
  memsync: boolean;
  fields: Fields;
  data: Uint8Array;
  /** Since the start of the process. */
  atMs: number;
}

/** An answer to the second step. */
export interface SecondAnswer {
  entries: Entry[];
  data?: Uint8Array;
}

/** The answer to the second step, from what the primary said there. */
export type Answer = (hello: Fields, connectionNumber: number) => Promise<SecondAnswer>;

/** What {@link accepting} can be told. */
export interface Acceptance {
  virgin?: boolean;
  localcnt?: number | bigint;
  remotecnt?: number | bigint;
  syncsrc?: "primary" | "secondary";
  /** Extents that may differ; none without it. */
  map?: Uint8Array;
  /** Further fields. */
  extra?: Entry[];
}

/** An answer that accepts, for a component made like that of `node`. */
export async function accepting(node: Node, acceptance: Acceptance = {}): Promise<SecondAnswer> {
  const { virgin = true, localcnt = 0, remotecnt = 0, syncsrc = "primary", map } = acceptance;
  const { dataBytes, extentBytes } = await node.layout();
  const entries: Entry[] = [
    ["datasize", "int64", dataBytes],
    ["extentsize", "int32", extentBytes],
    ["localcnt", "uint64", localcnt],
    ["remotecnt", "uint64", remotecnt],
    ...(virgin ? [["virgin", "int8", 1] satisfies Entry] : []),
    ["syncsrc", "uint8", syncsrc === "primary" ? 1 : 2],
    ["mapsize", "uint32", map?.length ?? 0],
    ...acceptance.extra ?? [],
  ];
  if (map === undefined) return { entries };
  return { entries: [...entries, ["size", "uint32", map.length]], data: map };
}

function askedOf(fields: Fields, data: Uint8Array): Asked {
  const number = (name: string) => Number(fields.get(name) ?? 0n);
  return {
    cmd: number("cmd"),
    seq: BigInt(number("seq")),
    offset: number("offset"),
    length: number("length"),
    memsync: number("memsync") === 1,
    fields,
    data,
    atMs: performance.now(),
  };
}

/** One pair of connections that has passed the handshake. */
export class SecondaryLink {
  /** Everything that was asked, in its order. */
  readonly asked: Asked[] = [];
  readonly #requests: FrameConn;
  readonly #replies: FrameConn;
  #ended = false;
  readonly #done: Promise<void>;

  constructor(readonly hello: Fields, requests: FrameConn, replies: FrameConn) {
    this.#requests = requests;
    this.#replies = replies;
    this.#done = this.#collect();
  }

  /** The primary has ended it, or we have. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Requests of one kind. */
  ofKind(cmd: number): Asked[] {
    return this.asked.filter((each) => each.cmd === cmd);
  }

  /** Waits until so many requests of a kind have come; returns them. */
  async waitFor(cmd: number, count: number): Promise<Asked[]> {
    await waitFor(`${count} requests ${cmd}`, () => this.ofKind(cmd).length >= count);
    return this.ofKind(cmd);
  }

  /** The final reply: success, or an errno. */
  async reply(seq: bigint, errno = 0, data?: Uint8Array): Promise<void> {
    const entries: Entry[] = [["seq", "uint64", seq]];
    if (errno !== 0) entries.push(["error", "int16", errno]);
    if (data !== undefined) entries.push(["size", "uint32", data.length]);
    await this.#replies.send(frame(entries, 2, data));
  }

  /** The first of the two replies in memsync. */
  async received(seq: bigint): Promise<void> {
    await this.#replies.send(frame([["seq", "uint64", seq], ["received", "int8", 1]]));
  }

  /** Ends both connections. */
  async close(): Promise<void> {
    this.#ended = true;
    for (const conn of [this.#requests, this.#replies]) conn[Symbol.dispose]();
    await this.#done;
  }

  async #collect(): Promise<void> {
    try {
      for (;;) {
        const whole = await this.#requests.receiveWhole(PATIENCE_MS);
        if (whole === undefined) break;
        this.asked.push(askedOf(whole.fields, whole.data));
      }
    } catch (error) {
      if (!this.#ended) throw error;
    }
    this.#ended = true;
  }
}

/** See the module. `await using` ends it. */
export class RecordingSecondary implements AsyncDisposable {
  /** Established so far, those that have ended too. */
  readonly links: SecondaryLink[] = [];
  /** When each connection was accepted, since the start of the process. */
  readonly acceptedAtMs: number[] = [];
  readonly #answer: Answer;
  readonly #listener: Deno.TcpListener;
  readonly #serving: Promise<void>;
  readonly #conns: FrameConn[] = [];
  #token = 0;

  /** Listens where `node` would. */
  constructor(node: Node, answer: Answer) {
    this.#answer = answer;
    this.#listener = Deno.listen({ hostname: node.address, port: node.port });
    this.#serving = this.#serve();
  }

  /** Waits for connection number `index`, the first being 0. */
  async link(index = 0): Promise<SecondaryLink> {
    return await waitFor(`link ${index} of the primary`, () => this.links[index]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const link of this.links) if (!link.ended) await link.close();
    for (const conn of this.#conns) {
      try {
        conn[Symbol.dispose]();
      } catch (error) {
        if (!(error instanceof Deno.errors.BadResource)) throw error;
      }
    }
    await this.#serving;
  }

  async #serve(): Promise<void> {
    try {
      for (;;) await this.#handshake();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }

  async #accept(): Promise<FrameConn> {
    const conn = new FrameConn(await this.#listener.accept());
    this.acceptedAtMs.push(performance.now());
    this.#conns.push(conn);
    return conn;
  }

  async #handshake(): Promise<void> {
    const requests = await this.#accept();
    const first = await requests.receive();
    if (first?.get("resource") !== RESOURCE) return;
    const token = new Uint8Array(16).fill(++this.#token);
    await requests.send(frame([["version", "uint8", 2], ["token", "bytes", token]], 1));
    const replies = await this.#accept();
    const hello = await replies.receive();
    if (hello === undefined) return;
    const { entries, data } = await this.#answer(hello, this.links.length);
    await requests.send(frame(entries, 2, data));
    if (entries.some(([name]) => name === "errmsg")) return requests[Symbol.dispose]();
    this.links.push(new SecondaryLink(hello, requests, replies));
  }
}
