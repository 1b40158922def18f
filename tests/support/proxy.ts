/**
 * Somebody between two nodes: passes on what a primary and its secondary say, keeps a record of it,
 * and may change it.
 * @module
 */
import type { Cluster } from "./cluster.ts";

/** Where a piece of a stream is. */
export interface StreamPlace {
  /** Number of the connection, in the order in which they were accepted. */
  connection: number;
  /** What the one who connected says, or what he is answered. */
  toServer: boolean;
}

/** What is made of a stream; it is given all that has come so far and where the new part begins. */
export type Tamper = (place: StreamPlace, stream: Uint8Array, newAt: number) => void;

/** All that was said on one connection. */
export interface Recording {
  toServer: Uint8Array<ArrayBuffer>;
  toClient: Uint8Array<ArrayBuffer>;
}

/** See the module. */
export class Proxy implements AsyncDisposable {
  /** What was received so far, before any change. */
  readonly recordings: Recording[] = [];
  /** Changes bytes of the new part of a stream in place. */
  tamper: Tamper = () => {};
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #server: Deno.ConnectOptions;
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>;
  readonly #pumps: Promise<void>[] = [];

  constructor(server: Deno.ConnectOptions) {
    this.#server = server;
    this.#running = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** All that was said on all connections. */
  everything(): Uint8Array {
    const pieces = this.recordings.flatMap(({ toServer, toClient }) => [toServer, toClient]);
    return pieces.reduce(joined, new Uint8Array(0));
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      let server: Deno.Conn;
      try {
        server = await Deno.connect(this.#server);
      } catch {
        client.close(); // Nobody there: the client finds out.
        continue;
      }
      const connection = this.recordings.length;
      this.recordings.push({ toServer: new Uint8Array(0), toClient: new Uint8Array(0) });
      this.#conns.add(client).add(server);
      this.#pumps.push(
        this.#pump(client, server, { connection, toServer: true }),
        this.#pump(server, client, { connection, toServer: false }),
      );
    }
  }

  async #pump(from: Deno.Conn, to: Deno.Conn, place: StreamPlace): Promise<void> {
    const recording = this.recordings[place.connection];
    if (recording === undefined) return;
    const side = place.toServer ? "toServer" : "toClient";
    const chunk = new Uint8Array(64 * 1024);
    try {
      for (;;) {
        const got = await from.read(chunk);
        if (got === null) break;
        const newAt = recording[side].length;
        recording[side] = joined(recording[side], chunk.subarray(0, got));
        const stream = recording[side].slice();
        this.tamper(place, stream, newAt);
        for (let at = newAt; at < stream.length;) at += await to.write(stream.subarray(at));
      }
    } catch {
      // One of both has gone.
    }
    this.#close(from);
    this.#close(to);
  }

  #close(conn: Deno.Conn): void {
    if (this.#conns.delete(conn)) conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) this.#close(conn);
    await this.#running;
    await Promise.all(this.#pumps);
  }
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(left.length + right.length);
  bytes.set(left);
  bytes.set(right, left.length);
  return bytes;
}

/** Size of the frame at the beginning of a stream; 0 until its prefix is there. */
export function firstFrameBytes(stream: Uint8Array): number {
  if (stream.length < 5) return 0;
  return 5 + new DataView(stream.buffer, stream.byteOffset).getUint32(1, true);
}

/** Lets what node a says to node b pass through a proxy. */
export async function withProxy(
  { a, b }: Cluster,
  test: (proxy: Proxy) => Promise<void>,
): Promise<void> {
  await using proxy = new Proxy({ hostname: b.address, port: b.port });
  const text = Deno.readTextFileSync(a.configPath);
  const remote = `remote ${b.address}:${b.port}`;
  Deno.writeTextFileSync(a.configPath, text.replace(remote, `remote 127.0.0.1:${proxy.port}`));
  await test(proxy);
  await a.stop(); // Before the proxy ends: node a would dial in vain.
}

/** Whether `part` stands anywhere in `whole`. */
export function contains(whole: Uint8Array, part: Uint8Array): boolean {
  const [first = 0] = part;
  for (let at = whole.indexOf(first); at >= 0; at = whole.indexOf(first, at + 1)) {
    if (part.every((byte, index) => whole[at + index] === byte)) return true;
  }
  return false;
}
