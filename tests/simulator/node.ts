/**
 * One simulated machine: its component, which outlives everything, and the process that runs.
 * @module
 */
import type { Primary } from "../../core/primary.ts";
import type { Secondary } from "../../core/secondary.ts";
import type { SecondaryJoin } from "../../core/secondary_join.ts";
import { decodeMetadata, encodeMetadata, type Metadata } from "../../protocol/metadata.ts";
import { CheckedPool, type DiskFaults, Medium, MemoryDisk, SECTOR_BYTES } from "./memory_disk.ts";
import type { Link } from "./network.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

const EXTENT_BYTES = 4096;
const EXTENT_COUNT = 8;
const METADATA_BYTES = 4096;
const MAP_BYTES = 512;
export const DATA_OFFSET_BYTES = METADATA_BYTES + MAP_BYTES;
const DATA_BYTES = EXTENT_BYTES * EXTENT_COUNT;
export const SECTOR_COUNT = DATA_BYTES / SECTOR_BYTES;

export type Role = "init" | "primary" | "secondary";

/** The worker of a secondary. */
export interface SecondaryProcess {
  readonly join: SecondaryJoin;
  readonly secondary: Secondary;
  readonly link: Link;
  readonly disk: MemoryDisk;
}

/** The worker of a primary. */
export interface PrimaryProcess {
  readonly primary: Primary;
  readonly disk: MemoryDisk;
  readonly pool: CheckedPool;
}

export class Node {
  readonly name: string;
  readonly medium = new Medium(DATA_OFFSET_BYTES + DATA_BYTES);
  readonly faults: DiskFaults;
  role: Role = "secondary";
  /** The machine has power. */
  up = true;
  primary: PrimaryProcess | undefined;
  secondary: SecondaryProcess | undefined;
  /** As primary: the link that it uses, or is making. */
  link: Link | undefined;
  /** The other node has claimed to be ahead: not to be used before both have met. */
  unusable = false;
  /** As primary: has learned that the other node is ahead, and is not in sync yet. */
  behind = false;
  /** As secondary: is about to say on disk that it alone is up to date. */
  claiming = false;
  /** Since both were in sync: users have asked this node to write while it was alone. */
  issuedAlone = false;
  /** The other node has failed a request; it may not be over here. */
  remoteFailed = false;
  /** By sector: what users were told is written, and what the other node had there instead. */
  readonly alone = new Map<number, { content: number; old: number }>();
  #durable: { flushCount: number; metadata: Metadata } | undefined = undefined;

  constructor(name: string, faults: DiskFaults) {
    this.name = name;
    this.faults = faults;
    this.create();
  }

  /** As `hastctl create` on a blank disk. */
  create(): void {
    const metadata: Metadata = {
      resource: "sim",
      datasizeBytes: DATA_BYTES,
      extentsizeBytes: EXTENT_BYTES,
      keepdirtyCount: 2,
      dataOffsetBytes: DATA_OFFSET_BYTES,
      resuid: 0n,
      localcnt: 0n,
      remotecnt: 0n,
      prevrole: "init",
    };
    this.medium.written.set(encodeMetadata(metadata), 0);
    this.medium.written.fill(0, METADATA_BYTES);
    this.medium.flush();
  }

  get metadata(): Metadata {
    return decodeMetadata(this.medium.written.subarray(0, METADATA_BYTES));
  }

  /** What a power cut would leave. */
  get durableMetadata(): Metadata {
    const { flushCount } = this.medium;
    if (this.#durable?.flushCount !== flushCount) {
      const metadata = decodeMetadata(this.medium.durable.subarray(0, METADATA_BYTES));
      this.#durable = { flushCount, metadata };
    }
    return this.#durable.metadata;
  }

  get map(): Uint8Array<ArrayBuffer> {
    return this.medium.written.slice(METADATA_BYTES, DATA_OFFSET_BYTES);
  }

  /** Whether users were told of a write that this node has and the other one has not. */
  hasAlone(other: Node): boolean {
    for (const [sector, { content, old }] of this.alone) {
      if (this.versionAt(sector) === content && other.versionAt(sector) === old) return true;
    }
    return false;
  }

  /** Forgets what the other one has by now. */
  forgetShared(other: Node): void {
    for (const [sector, { old }] of this.alone) {
      if (other.versionAt(sector) !== old) this.alone.delete(sector);
    }
  }

  newDisk(random: Random, scheduler: Scheduler): MemoryDisk {
    return new MemoryDisk(this.medium, random, scheduler, this.faults);
  }

  /** Ends whatever process runs, at once. */
  kill(): void {
    this.primary?.disk.kill();
    this.secondary?.disk.kill();
    this.primary = undefined;
    this.secondary = undefined;
    this.behind = false;
    this.claiming = false;
  }

  /** The version that a sector of the component holds. */
  versionAt(sector: number): number {
    return versionAt(this.medium.written, DATA_OFFSET_BYTES + sector * SECTOR_BYTES);
  }
}

/** Fills a sector with a version. */
export function stamp(bytes: Uint8Array<ArrayBuffer>, at: number, version: number): void {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, version);
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(at + SECTOR_BYTES - 4, version);
}

export function versionAt(bytes: Uint8Array<ArrayBuffer>, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const version = view.getUint32(at);
  if (view.getUint32(at + SECTOR_BYTES - 4) !== version) throw new Error(`a torn sector at ${at}`);
  return version;
}
