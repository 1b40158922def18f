/**
 * A TCP relay between two nodes that a test holds up and cuts.
 *
 * What comes in while it is held counts as sent for the sender and never arrives if the relay is cut
 * then: that is how requests are lost on their way, each time and not by luck.
 * @module
 */

/** From whoever dials to the other side, or back. */
export type Direction = "forward" | "backward";

const CHUNK_BYTES = 256 * 1024;

/** One way of one connection. */
class Lane {
  readonly #waiting: Uint8Array[] = [];
  readonly #from: Deno.TcpConn;
  readonly #to: Deno.TcpConn;
  #heldBytes = 0;
  #held: boolean;
  #draining: Promise<void> = Promise.resolve();
  #passedBytes = 0;
  /** Settles when nothing more comes. */
  readonly done: Promise<void>;

  constructor(from: Deno.TcpConn, to: Deno.TcpConn, held: boolean) {
    this.#from = from;
    this.#to = to;
    this.#held = held;
    this.done = this.#read();
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  get passedBytes(): number {
    return this.#passedBytes;
  }

  setHeld(held: boolean): void {
    this.#held = held;
    if (!held) this.#draining = this.#draining.then(() => this.#drain());
  }

  async #read(): Promise<void> {
    const chunk = new Uint8Array(CHUNK_BYTES);
    try {
      for (;;) {
        const count = await this.#from.read(chunk);
        if (count === null) break;
        this.#waiting.push(chunk.slice(0, count));
        this.#heldBytes += count;
        if (this.#held) continue;
        this.#draining = this.#draining.then(() => this.#drain());
        await this.#draining;
      }
      if (!this.#held) await this.#to.closeWrite();
    } catch {
      closeQuietly(this.#to); // One side is gone, so is the other.
    }
  }

  async #drain(): Promise<void> {
    try {
      for (let next = this.#next(); next !== undefined; next = this.#next()) {
        for (let done = 0; done < next.length;) done += await this.#to.write(next.subarray(done));
        this.#heldBytes -= next.length;
        this.#passedBytes += next.length;
      }
    } catch {
      closeQuietly(this.#from);
    }
  }

  #next(): Uint8Array | undefined {
    return this.#held ? undefined : this.#waiting.shift();
  }
}

function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

interface Pair {
  conns: [Deno.TcpConn, Deno.TcpConn];
  lanes: Record<Direction, Lane>;
}

/** See the module. `await using` ends it. */
export class Relay implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #target: { hostname: string; port: number };
  readonly #pairs = new Set<Pair>();
  readonly #held: Record<Direction, boolean> = { forward: false, backward: false };
  readonly #serving: Promise<void>;
  #refusing = false;
  #acceptedCount = 0;

  constructor(target: { hostname: string; port: number }) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#serving = this.#serve();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Connections so far, those that were refused too. */
  get acceptedCount(): number {
    return this.#acceptedCount;
  }

  /** Bytes that have come and were not passed on, of all connections that stand. */
  heldBytes(direction: Direction): number {
    return [...this.#pairs].reduce((sum, { lanes }) => sum + lanes[direction].heldBytes, 0);
  }

  /** Bytes that were passed on, of all connections that stand. */
  passedBytes(direction: Direction): number {
    return [...this.#pairs].reduce((sum, { lanes }) => sum + lanes[direction].passedBytes, 0);
  }

  /** From now on nothing passes in this direction, though both sides can still send. */
  hold(direction: Direction): void {
    this.#setHeld(direction, true);
  }

  /** What was held goes on. */
  pass(direction: Direction): void {
    this.#setHeld(direction, false);
  }

  /** Ends all connections; what is held is lost, and nothing is held from now on. */
  cut(): void {
    for (const { conns } of this.#pairs) conns.forEach(closeQuietly);
    this.#pairs.clear();
    this.#held.forward = this.#held.backward = false;
  }

  /** Whether new connections are closed at once. */
  set refusing(refusing: boolean) {
    this.#refusing = refusing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    await this.#serving;
  }

  #setHeld(direction: Direction, held: boolean): void {
    this.#held[direction] = held;
    for (const { lanes } of this.#pairs) lanes[direction].setHeld(held);
  }

  async #serve(): Promise<void> {
    const ended: Promise<void>[] = [];
    try {
      for await (const conn of this.#listener) ended.push(this.#relay(conn));
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await Promise.all(ended);
  }

  async #relay(incoming: Deno.TcpConn): Promise<void> {
    this.#acceptedCount++;
    if (this.#refusing) return incoming.close();
    let outgoing: Deno.TcpConn;
    try {
      outgoing = await Deno.connect(this.#target);
    } catch {
      return incoming.close(); // Nobody listens there: whoever dialed learns it this way.
    }
    for (const conn of [incoming, outgoing]) conn.setNoDelay(true);
    const pair: Pair = {
      conns: [incoming, outgoing],
      lanes: {
        forward: new Lane(incoming, outgoing, this.#held.forward),
        backward: new Lane(outgoing, incoming, this.#held.backward),
      },
    };
    this.#pairs.add(pair);
    await Promise.all([pair.lanes.forward.done, pair.lanes.backward.done]);
    this.#pairs.delete(pair);
    pair.conns.forEach(closeQuietly);
  }
}
