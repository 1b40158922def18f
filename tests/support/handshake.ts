/**
 * The primary's part of a handshake, against the main process of a test.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { type Entry, type Fields, frame, FrameConn } from "./hast_wire.ts";

/** Counters as the primary sends them. */
export const STATE: Entry[] = [
  ["resuid", "uint64", 66n],
  ["localcnt", "uint64", 1n],
  ["remotecnt", "uint64", 2n],
];

/**
 * Both steps, which must succeed.
 *
 * @returns Both connections, open.
 */
export async function connectTwice(
  main: { port: number },
  name = "data",
): Promise<[FrameConn, FrameConn]> {
  const { conns, answer } = await attemptTwice(main, name);
  assertEquals(answer?.get("datasize"), 4096n);
  return conns;
}

/** Both steps; `answer` is undefined where the secondary's worker says nothing to the second. */
export async function attemptTwice(
  { port }: { port: number },
  name = "data",
): Promise<{ conns: [FrameConn, FrameConn]; answer: Fields | undefined }> {
  const first = await FrameConn.tcp("127.0.0.1", port);
  await first.send(frame([["resource", "string", name], ["version", "uint8", 2]], 1));
  const token = (await first.receive())?.get("token");
  assert(token instanceof Uint8Array, "the secondary gives a token");
  const second = await FrameConn.tcp("127.0.0.1", port);
  await second.send(frame([["resource", "string", name], ["token", "bytes", token], ...STATE]));
  return { conns: [first, second], answer: await first.receive() };
}
