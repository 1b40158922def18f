/**
 * The counters of this node: changed in memory at once, durable before anything relies on them.
 *
 * Source: disk.md, replication.md (counters).
 * @module
 */
import { encodeMetadata, type Metadata, METADATA_BYTES } from "../protocol/metadata.ts";
import { type Disk, type DiskJob, DiskOp, type IoBuffer, unlessUnsupported } from "./ports.ts";

export interface MetadataStoreEnv {
  readonly disk: Disk;
  /** At least {@link METADATA_BYTES}; used by the store alone. */
  readonly buffer: IoBuffer;
}

type Done = (errno: number) => void;

export class MetadataStore {
  readonly #env: MetadataStoreEnv;
  #current: Metadata;
  /** Waiting for the write that has not begun yet, and for the one under way. */
  #waiting: Done[] = [];
  #writing: Done[] | undefined = undefined;
  #unwritten = false;
  #proven = false;

  constructor(metadata: Metadata, env: MetadataStoreEnv) {
    this.#current = metadata;
    this.#env = env;
  }

  /** As of now; on disk only when {@link settled}. */
  get current(): Readonly<Metadata> {
    return this.#current;
  }

  /** What is in memory is on stable storage: nothing is on its way, and the last write succeeded. */
  get settled(): boolean {
    return this.#writing === undefined && !this.#unwritten;
  }

  /**
   * {@link settled}, and written by this process: what was found at its start may be in a cache
   * only, left there by one that was killed.
   */
  get proven(): boolean {
    return this.#proven && this.settled;
  }

  /** Changes the metadata; `done` is called once the change is written and flushed, or failed. */
  update(change: Partial<Metadata>, done: Done): void {
    this.#current = { ...this.#current, ...change };
    this.#unwritten = true;
    this.#waiting.push(done);
    this.#kick();
  }

  /**
   * Calls back when everything changed so far is durable: at once if it is. What could not be
   * written is tried again.
   */
  whenSettled(done: Done): void {
    if (this.settled) done(0);
    else if (this.#unwritten) {
      this.#waiting.push(done);
      this.#kick();
    } else this.#writing?.push(done);
  }

  #kick(): void {
    if (this.#writing !== undefined || !this.#unwritten) return;
    this.#unwritten = false;
    this.#writing = this.#waiting;
    this.#waiting = [];
    this.#env.buffer.bytes.set(encodeMetadata(this.#current));
    this.#env.disk.submit(this.#job(DiskOp.write, METADATA_BYTES, (errno) => {
      if (errno !== 0) this.#finish(errno);
      else {this.#env.disk.submit(this.#job(DiskOp.flush, 0, (flushErrno) =>
          this.#finish(unlessUnsupported(flushErrno))));}
    }));
  }

  #job(op: DiskOp, lengthBytes: number, diskDone: Done): DiskJob {
    const buffer = op === DiskOp.write ? this.#env.buffer : undefined;
    return { op, offsetBytes: 0, lengthBytes, buffer, bufferOffsetBytes: 0, diskDone };
  }

  #finish(errno: number): void {
    const waiters = this.#writing ?? [];
    this.#writing = undefined;
    if (errno === 0) this.#proven = true;
    if (this.#waiting.length > 0) this.#kick();
    else if (errno !== 0) this.#unwritten = true;
    for (const done of waiters) done(errno);
  }
}
