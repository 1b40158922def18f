/**
 * A primary played by a test, against the secondary of a real daemon.
 *
 * Source: wire.md (handshake, requests, replies).
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Node, RESOURCE } from "./cluster.ts";
import { type Entry, frame, FrameConn, type WholeFrame } from "./hast_wire.ts";

/** Commands of requests. */
export const CMD = { read: 1, write: 2, delete: 3, flush: 4, keepalive: 5, claim: 6 } as const;

/** What a primary that was never used says of itself. */
const IDENTITY: Entry[] = [
  ["virgin", "int8", 1],
  ["resuid", "uint64", 4711n],
  ["localcnt", "uint64", 0],
  ["remotecnt", "uint64", 0],
];

/** The fields that a request with a range begins with. */
export function request(
  command: number,
  seq: number,
  offset: number | bigint,
  length: number,
): Entry[] {
  return [
    ["cmd", "uint8", command],
    ["seq", "uint64", seq],
    ["offset", "uint64", offset],
    ["length", "uint64", length],
  ];
}

/** Both connections, the handshake done. */
export class ScriptedPrimary implements Disposable {
  private constructor(
    readonly requests: FrameConn,
    readonly replies: FrameConn,
    /** What the secondary has said to the second step: its state, or why it refuses. */
    readonly answer: WholeFrame,
  ) {}

  /** First step: the connection for requests, and the token that it was given. */
  static async firstStep(node: Node): Promise<{ requests: FrameConn; token: Uint8Array }> {
    const requests = await FrameConn.tcp(node.address, node.port);
    await requests.send(frame([["resource", "string", RESOURCE], ["version", "uint8", 2]], 1));
    const token = (await requests.receive())?.get("token");
    assert(token instanceof Uint8Array, "the secondary gives a token");
    return { requests, token };
  }

  /** Goes through the handshake; the secondary must accept. */
  static async connect(node: Node, identity = IDENTITY): Promise<ScriptedPrimary> {
    const primary = await ScriptedPrimary.attempt(node, identity);
    assertEquals(primary.answer.fields.get("errmsg"), undefined);
    return primary;
  }

  /** Both steps of the handshake; `identity` is what the primary says of itself. */
  static async attempt(node: Node, identity: Entry[]): Promise<ScriptedPrimary> {
    const { requests, token } = await ScriptedPrimary.firstStep(node);
    const replies = await FrameConn.tcp(node.address, node.port);
    await replies.send(
      frame([["resource", "string", RESOURCE], ["token", "bytes", token], ...identity]),
    );
    const answer = await requests.receiveWhole();
    assert(answer !== undefined, "the secondary answers");
    return new ScriptedPrimary(requests, replies, answer);
  }

  /** Sends a request; the error of its reply, 0 for success, undefined where the peer closed. */
  async request(
    entries: Entry[],
    data: Uint8Array = new Uint8Array(),
  ): Promise<number | undefined> {
    await this.requests.send(frame(entries, 2, data));
    const reply = await this.replies.receive();
    return reply === undefined ? undefined : Number(reply.get("error") ?? 0n);
  }

  [Symbol.dispose](): void {
    this.requests[Symbol.dispose]();
    this.replies[Symbol.dispose]();
  }
}
