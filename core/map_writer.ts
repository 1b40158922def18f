/**
 * Brings the activemap to the disk: one write, and one flush with metaflush, for all extents that
 * became dirty while the last one was under way.
 *
 * Source: disk.md; replication.md (activemap on the primary, weakness 11).
 * @module
 */
import { type Activemap, MAP_SECTOR_BYTES } from "./activemap.ts";
import { type Disk, type DiskJob, DiskOp, type IoBuffer, unlessUnsupported } from "./ports.ts";

class MapJob implements DiskJob {
  op = DiskOp.write;
  offsetBytes = 0;
  lengthBytes = 0;
  buffer: IoBuffer | undefined = undefined;
  bufferOffsetBytes = 0;
  readonly diskDone: (errno: number) => void;
  constructor(done: (errno: number) => void) {
    this.diskDone = done;
  }
}

export interface MapWriterEnv {
  readonly disk: Disk;
  readonly activemap: Activemap;
  /** As large as the map; used by the writer alone. */
  readonly snapshot: IoBuffer;
  /** Where the map starts in the component. */
  readonly mapOffsetBytes: number;
  /** Whether a write of the map is flushed before it counts. */
  readonly metaflush: () => boolean;
  /** A write is over: 0, and what was dirty when it began is dirty on disk; or an errno. */
  readonly written: (errno: number) => void;
}

export class MapWriter {
  readonly #env: MapWriterEnv;
  #sectors: number[] = [];
  #jobsLeft = 0;
  #errno = 0;
  #busy = false;
  /** Writes that were completed, for `activemap updates` of hastctl list. */
  writeCount = 0;

  constructor(env: MapWriterEnv) {
    this.#env = env;
  }

  get busy(): boolean {
    return this.#busy;
  }

  /** Writes what has changed; a change during a write is written by the next one. */
  kick(): void {
    if (this.#busy || !this.#env.activemap.changed) return;
    this.#busy = true;
    this.#errno = 0;
    this.#sectors = this.#env.activemap.beginWrite(this.#env.snapshot.bytes);
    const runs = runsOf(this.#sectors);
    this.#jobsLeft = runs.length;
    for (const [first, count] of runs) this.#submitRun(first, count);
  }

  #submitRun(firstSector: number, sectorCount: number): void {
    const job = new MapJob((errno) => this.#runDone(errno));
    job.bufferOffsetBytes = firstSector * MAP_SECTOR_BYTES;
    job.offsetBytes = this.#env.mapOffsetBytes + job.bufferOffsetBytes;
    job.lengthBytes = sectorCount * MAP_SECTOR_BYTES;
    job.buffer = this.#env.snapshot;
    this.#env.disk.submit(job);
  }

  #runDone(errno: number): void {
    if (errno !== 0) this.#errno = errno;
    if (--this.#jobsLeft > 0) return;
    if (this.#errno !== 0 || !this.#env.metaflush()) {
      this.#finish(this.#errno);
      return;
    }
    const flush = new MapJob((flushErrno) => this.#finish(unlessUnsupported(flushErrno)));
    flush.op = DiskOp.flush;
    this.#env.disk.submit(flush);
  }

  #finish(errno: number): void {
    this.#busy = false;
    if (errno === 0) {
      this.writeCount++;
      this.#env.activemap.endWrite(this.#env.snapshot.bytes, this.#sectors);
    } else {
      this.#env.activemap.failWrite(this.#sectors);
    }
    this.#env.written(errno);
  }
}

/** Neighbouring sectors as [first, count]. */
function runsOf(sortedSectors: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  let last: [number, number] | undefined = undefined;
  for (const sector of sortedSectors) {
    if (last !== undefined && last[0] + last[1] === sector) last[1]++;
    else {
      last = [sector, 1];
      runs.push(last);
    }
  }
  return runs;
}
