/**
 * Random reads, writes, trims and zero writes on an NBD export, many in flight, against a model in
 * memory. Requests that overlap are never in flight together: their order would be open.
 * @module
 */
import { firstDifference } from "./cluster.ts";
import { FLAG, type NbdClient } from "./nbd_client.ts";
import type { Random } from "./random.ts";

/** What to do. */
export interface Workload {
  operationCount: number;
  /** Most requests in flight. */
  queueDepth: number;
  /** Largest request; the smallest is one sector. */
  requestBytesMax: number;
}

interface InFlight {
  startBytes: number;
  endBytes: number;
  done: Promise<void>;
}

const SECTOR_BYTES = 512;
const POOL_BYTES = 4 * 1024 * 1024;

/** An export and what it ought to hold. */
export class Model {
  /** What the export holds once all requests are done. */
  readonly bytes: Uint8Array;
  readonly #client: NbdClient;
  readonly #random: Random;
  /** Random data to write from: quicker than new data for each request, and as telling. */
  readonly #pool: Uint8Array;
  readonly #inFlight = new Set<InFlight>();
  #stamp = 0;

  /** @param bytes What the export holds now; the model takes it over. */
  constructor(client: NbdClient, random: Random, bytes: Uint8Array) {
    this.#client = client;
    this.#random = random;
    this.bytes = bytes;
    this.#pool = random.bytes(POOL_BYTES);
  }

  /**
   * Runs a workload to its end, every read checked.
   *
   * @throws {Error} A read returned something else, or a request failed.
   */
  async run(workload: Workload): Promise<void> {
    for (let i = 0; i < workload.operationCount; i++) {
      const lengthBytes = this.#random.sizeUpTo(workload.requestBytesMax, SECTOR_BYTES);
      const sectorCount = (this.bytes.length - lengthBytes) / SECTOR_BYTES + 1;
      const startBytes = this.#random.below(sectorCount) * SECTOR_BYTES;
      await this.#room(startBytes, startBytes + lengthBytes, workload.queueDepth);
      this.#start(startBytes, lengthBytes);
    }
    await Promise.all([...this.#inFlight].map((request) => request.done));
  }

  /** Waits until the queue has room and nothing in flight overlaps the range. */
  async #room(startBytes: number, endBytes: number, queueDepth: number): Promise<void> {
    for (;;) {
      const all = [...this.#inFlight];
      const overlapping = all.filter((x) => x.startBytes < endBytes && startBytes < x.endBytes);
      const blocking = overlapping.length > 0 ? overlapping : all.length >= queueDepth ? all : [];
      if (blocking.length === 0) return;
      await Promise.race(blocking.map((request) => request.done));
    }
  }

  #start(startBytes: number, lengthBytes: number): void {
    const done = this.#operation(startBytes, lengthBytes).finally(() => {
      this.#inFlight.delete(request);
    });
    const request = { startBytes, endBytes: startBytes + lengthBytes, done };
    this.#inFlight.add(request);
    done.catch(() => undefined); // run() or #room() reports it.
  }

  #operation(startBytes: number, lengthBytes: number): Promise<void> {
    const place = this.bytes.subarray(startBytes, startBytes + lengthBytes);
    const kind = this.#random.below(20);
    if (kind < 8) return this.#write(startBytes, place, kind === 0 ? FLAG.fua : 0);
    if (kind < 15) return this.#read(startBytes, place.slice());
    if (kind < 16) return this.#client.flush();
    place.fill(0);
    return kind < 18
      ? this.#client.trim(startBytes, lengthBytes)
      : this.#client.writeZeroes(startBytes, lengthBytes);
  }

  #write(startBytes: number, place: Uint8Array, flags: number): Promise<void> {
    const from = this.#random.below(POOL_BYTES - place.length);
    const data = this.#pool.slice(from, from + place.length);
    new DataView(data.buffer).setUint32(0, ++this.#stamp); // No two writes are the same.
    place.set(data);
    return this.#client.write(startBytes, data, flags);
  }

  async #read(startBytes: number, expected: Uint8Array): Promise<void> {
    const data = await this.#client.read(startBytes, expected.length);
    const different = firstDifference(data, expected);
    if (different !== -1) {
      throw new Error(
        `Read of ${expected.length} bytes at ${startBytes} differs from the model ` +
          `at ${startBytes + different}`,
      );
    }
  }
}
