/**
 * A stand-in for the control socket of hastd: takes one request, answers with given bytes.
 * @module
 */
import { decodeHex, encodeHex } from "./hex.ts";

const PREFIX_BYTES = 5;

/** What a stand-in does once it has a request. */
export interface FakeAnswer {
  /** The bytes of the reply; none at all closes the connection. */
  replyHex: string;
  /** Keep the connection open behind the reply until the client ends. */
  keepOpen?: boolean;
}

/**
 * Serves one connection on the Unix socket `path` while `body` runs.
 *
 * @returns What `body` returned, and the request as hexadecimal digits ("" for none).
 */
export async function withFakeDaemon<T>(
  path: string,
  answer: FakeAnswer,
  body: () => Promise<T>,
): Promise<{ result: T; requestHex: string }> {
  const listener = Deno.listen({ transport: "unix", path });
  const served = serveOne(listener, answer);
  try {
    const result = await body();
    listener.close();
    return { result, requestHex: await served };
  } finally {
    removeIfThere(path);
  }
}

/** Some versions of Deno remove the file of a socket when it is closed, some do not. */
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function serveOne(listener: Deno.UnixListener, answer: FakeAnswer): Promise<string> {
  let conn: Deno.UnixConn;
  try {
    conn = await listener.accept();
  } catch {
    return ""; // Closed by the test: nobody came.
  }
  const request = await receiveRequest(conn);
  for (const half of halves(decodeHex(answer.replyHex))) await sendWhole(conn, half);
  if (answer.keepOpen) await conn.read(new Uint8Array(1));
  conn.close();
  return encodeHex(request);
}

/** In two pieces, so that no client can rely on one read. */
function halves(bytes: Uint8Array): Uint8Array[] {
  const middle = bytes.length >> 1;
  return [bytes.subarray(0, middle), bytes.subarray(middle)].filter((half) => half.length > 0);
}

async function sendWhole(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sentBytes = 0; sentBytes < bytes.length;) {
    sentBytes += await conn.write(bytes.subarray(sentBytes));
  }
}

async function receiveRequest(conn: Deno.Conn): Promise<Uint8Array> {
  const prefix = await receive(conn, PREFIX_BYTES);
  const headerBytes = new DataView(prefix.buffer).getUint32(1, true);
  return new Uint8Array([...prefix, ...await receive(conn, headerBytes)]);
}

async function receive(conn: Deno.Conn, byteCount: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(byteCount);
  for (let at = 0; at < byteCount;) {
    const received = await conn.read(bytes.subarray(at));
    if (received === null) throw new Error("The client closed the connection within its request");
    at += received;
  }
  return bytes;
}
