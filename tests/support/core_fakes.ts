/**
 * The outside of `core/`, moved by hand: nothing happens before the test says so.
 * @module
 */
import type { Log } from "../../base/log.ts";
import {
  type BufferPool,
  type Disk,
  type DiskJob,
  DiskOp,
  type IoBuffer,
  type PeerLink,
  RemoteCommand,
  type RemoteRequest,
  type Timers,
} from "../../core/ports.ts";
import type { Metadata } from "../../protocol/metadata.ts";

const OP_NAME: Record<DiskOp, string> = {
  [DiskOp.read]: "read",
  [DiskOp.write]: "write",
  [DiskOp.delete]: "delete",
  [DiskOp.flush]: "flush",
  [DiskOp.zero]: "zero",
};

const COMMAND_NAME: Record<RemoteCommand, string> = {
  [RemoteCommand.read]: "READ",
  [RemoteCommand.write]: "WRITE",
  [RemoteCommand.delete]: "DELETE",
  [RemoteCommand.flush]: "FLUSH",
  [RemoteCommand.keepalive]: "KEEPALIVE",
  [RemoteCommand.claim]: "CLAIM",
};

/** What a job looked like when it was submitted. */
interface Submitted {
  readonly job: DiskJob;
  readonly name: string;
}

/** Keeps jobs until the test completes them; `medium` is what was written. */
export class FakeDisk implements Disk {
  readonly medium: Uint8Array<ArrayBuffer>;
  readonly #jobs: Submitted[] = [];

  constructor(byteCount = 64 * 1024) {
    this.medium = new Uint8Array(byteCount);
  }

  submit(job: DiskJob): void {
    const range = job.op === DiskOp.flush ? "" : ` ${job.offsetBytes}+${job.lengthBytes}`;
    this.#jobs.push({ job, name: OP_NAME[job.op] + range });
  }

  /** Jobs under way, in order, for instance `write 4096+512`. */
  get jobs(): string[] {
    return this.#jobs.map(({ name }) => name);
  }

  /** Completes the first job, or the first one whose name begins so. */
  complete(errno = 0, name = ""): void {
    const index = this.#jobs.findIndex((one) => one.name.startsWith(name));
    const [found] = index < 0 ? [] : this.#jobs.splice(index, 1);
    if (found === undefined) throw new Error(`no job '${name}' among ${this.jobs.join(", ")}`);
    if (errno === 0) this.#perform(found.job);
    found.job.diskDone(errno);
  }

  /** Completes jobs, and those that they bring about, until there is none. */
  completeAll(): void {
    while (this.#jobs.length > 0) this.complete();
  }

  #perform({ op, offsetBytes, lengthBytes, buffer, bufferOffsetBytes }: DiskJob): void {
    const end = bufferOffsetBytes + lengthBytes;
    if (op === DiskOp.read) {
      const data = this.medium.subarray(offsetBytes, offsetBytes + lengthBytes);
      buffer?.bytes.set(data, bufferOffsetBytes);
    } else if (op === DiskOp.write && buffer !== undefined) {
      this.medium.set(buffer.bytes.subarray(bufferOffsetBytes, end), offsetBytes);
    } else if (op !== DiskOp.flush) {
      this.medium.fill(0, offsetBytes, offsetBytes + lengthBytes);
    }
  }
}

/** Buffers on the heap; knows which are out. */
export class FakePool implements BufferPool {
  readonly out = new Set<IoBuffer>();
  take(byteCount: number): IoBuffer {
    const buffer = { bytes: new Uint8Array(byteCount), address: 0n };
    this.out.add(buffer);
    return buffer;
  }
  give(buffer: IoBuffer): void {
    if (!this.out.delete(buffer)) throw new Error("a buffer was given back twice");
  }
}

/** Time that stands still until {@link advance}. */
export class FakeTimers implements Timers {
  nowMs = 0;
  #last = 0;
  readonly #timers = new Map<number, { atMs: number; callback: () => void }>();

  setTimer(delayMs: number, callback: () => void): number {
    this.#timers.set(++this.#last, { atMs: this.nowMs + delayMs, callback });
    return this.#last;
  }

  clearTimer(timer: number): void {
    this.#timers.delete(timer);
  }

  get count(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    const endMs = this.nowMs + byMs;
    for (;;) {
      const due = [...this.#timers].filter(([, { atMs }]) => atMs <= endMs);
      const [first] = due.sort(([, a], [, b]) => a.atMs - b.atMs);
      if (first === undefined) break;
      const [timer, { atMs, callback }] = first;
      this.#timers.delete(timer);
      this.nowMs = atMs;
      callback();
    }
    this.nowMs = endMs;
  }
}

/** Keeps what was sent, as it was then. */
export class FakeLink implements PeerLink {
  requestBytesMax = 128 * 1024;
  protocolVersion = 2;
  takesClaims = true;
  readonly queuedBytes = 0;
  open = true;
  readonly sent: RemoteRequest[] = [];

  send(request: RemoteRequest): void {
    this.sent.push({ ...request });
  }

  close(): void {
    this.open = false;
  }

  /** What was sent, for instance `WRITE 0+512`. */
  get requests(): string[] {
    return this.sent.map(({ command, offsetBytes, lengthBytes }) => {
      const range = lengthBytes === 0 ? "" : ` ${offsetBytes}+${lengthBytes}`;
      return COMMAND_NAME[command] + range;
    });
  }

  /** The number of the nth request, from 0. */
  seq(index: number): number {
    const request = this.sent[index];
    if (request === undefined) throw new Error(`only ${this.sent.length} requests were sent`);
    return request.seq;
  }
}

/** Every message, with its level. */
export class FakeLog implements Log {
  readonly lines: string[] = [];
  error(message: string): void {
    this.lines.push(`error: ${message}`);
  }
  warning(message: string): void {
    this.lines.push(`warning: ${message}`);
  }
  info(message: string): void {
    this.lines.push(`info: ${message}`);
  }
  debug(level: number, message: string): void {
    this.lines.push(`debug${level}: ${message}`);
  }
}

export const FAKE_EXTENT_BYTES = 4096;
/** Where the map of {@link fakeMetadata} lies, and where its data begins. */
export const FAKE_MAP_OFFSET_BYTES = 4096;
export const FAKE_DATA_OFFSET_BYTES = 4096 + 512;

/** Eight extents of 4 KiB, in sync with its peer unless changed. */
export function fakeMetadata(change: Partial<Metadata> = {}): Metadata {
  return {
    resource: "test",
    datasizeBytes: 8 * FAKE_EXTENT_BYTES,
    extentsizeBytes: FAKE_EXTENT_BYTES,
    keepdirtyCount: 2,
    dataOffsetBytes: FAKE_DATA_OFFSET_BYTES,
    resuid: 7n,
    localcnt: 1n,
    remotecnt: 1n,
    prevrole: "primary",
    ...change,
  };
}
