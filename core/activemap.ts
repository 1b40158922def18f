/**
 * Which extents may differ between the nodes: the state in memory and what of it is on disk.
 *
 * For each extent:
 * - pending: requests that write to it and are not over on both nodes;
 * - stale: one side is known to lack data (`peer`: the other node, `local`: our component);
 * - kept: among the `keepdirty` most recently used extents, left dirty to save map writes;
 * - unflushed: written since both nodes last flushed their caches; a power cut could still take the
 *   data back on one side only.
 * An extent is dirty while any of these holds, and unflushed alone keeps one dirty that was.
 * `durable` are the extents whose bit is set on disk whatever write of the map is under way: only
 * there may data be written.
 *
 * Source: disk.md (activemap), replication.md (activemap on the primary).
 * @module
 */
import { invariant } from "../base/errors.ts";
import {
  clearExtent,
  extentCountOf,
  markExtent,
  testExtent,
} from "../protocol/activemap_layout.ts";
import { ExtentSet } from "./extent_set.ts";

/** Bytes of map that are written at once; the map itself is a multiple of it. */
export const MAP_SECTOR_BYTES = 512;
const EXTENTS_PER_SECTOR = MAP_SECTOR_BYTES * 8;

/** Which side lacks data of an extent. */
export type StaleSide = "peer" | "local";

export interface ActivemapGeometry {
  datasizeBytes: number;
  extentsizeBytes: number;
  /** Bytes of the map on disk, at least ceil(extents / 8). */
  mapBytes: number;
  keepdirtyCount: number;
}

export class Activemap {
  readonly extentCount: number;
  readonly #geometry: ActivemapGeometry;
  readonly #pending: Uint32Array;
  readonly #stale: Record<StaleSide, ExtentSet>;
  /** In order of use, the least recently used first. */
  readonly #kept = new Set<number>();
  /** Written since the last flush of both nodes began; and before it, while it is under way. */
  #unflushed = new Set<number>();
  #flushing: Set<number> | undefined = undefined;
  /** Dirty only because they are unflushed. */
  readonly #cooling = new Set<number>();
  /** What the map on disk should be. */
  readonly #wanted: Uint8Array<ArrayBuffer>;
  readonly #durable: Uint8Array<ArrayBuffer>;
  /** Found on disk, but perhaps in a cache only, left there by a process that was killed. */
  readonly #unproven: ExtentSet;
  /** Sectors of the map where `wanted` differs from what was last written. */
  readonly #changedSectors = new Set<number>();
  #dirtyCount = 0;

  constructor(geometry: ActivemapGeometry) {
    this.#geometry = geometry;
    this.extentCount = extentCountOf(geometry.datasizeBytes, geometry.extentsizeBytes);
    invariant(geometry.mapBytes * 8 >= this.extentCount, "the map has a bit for every extent");
    this.#pending = new Uint32Array(this.extentCount);
    this.#stale = { peer: new ExtentSet(this.extentCount), local: new ExtentSet(this.extentCount) };
    this.#unproven = new ExtentSet(this.extentCount);
    this.#wanted = new Uint8Array(geometry.mapBytes);
    this.#durable = new Uint8Array(geometry.mapBytes);
  }

  /** Extents that may differ. */
  get dirtyCount(): number {
    return this.#dirtyCount;
  }

  /** Extents that one side is known to lack. */
  get staleCount(): number {
    return this.#stale.peer.count + this.#stale.local.count;
  }

  /** Bytes still to be synchronised, at most: whole extents. */
  get staleBytes(): number {
    return Math.min(this.staleCount * this.#geometry.extentsizeBytes, this.#geometry.datasizeBytes);
  }

  get dirtyBytes(): number {
    return Math.min(
      this.#dirtyCount * this.#geometry.extentsizeBytes,
      this.#geometry.datasizeBytes,
    );
  }

  firstExtent(offsetBytes: number): number {
    return Math.floor(offsetBytes / this.#geometry.extentsizeBytes);
  }

  lastExtent(offsetBytes: number, lengthBytes: number): number {
    return Math.floor((offsetBytes + lengthBytes - 1) / this.#geometry.extentsizeBytes);
  }

  isDirty(extent: number): boolean {
    return testExtent(this.#wanted, extent);
  }

  isStale(extent: number, side: StaleSide): boolean {
    return this.#stale[side].has(extent);
  }

  /** Whether one side lacks anything. */
  anyStale(side: StaleSide): boolean {
    return this.#stale[side].count > 0;
  }

  /** Whether one side may lack any byte of the range. */
  touchesStale(side: StaleSide, offsetBytes: number, lengthBytes: number): boolean {
    const stale = this.#stale[side];
    if (stale.count === 0) return false;
    const last = this.lastExtent(offsetBytes, lengthBytes);
    for (let extent = this.firstExtent(offsetBytes); extent <= last; extent++) {
      if (stale.has(extent)) return true;
    }
    return false;
  }

  /**
   * Takes over the map found on disk when the role begins: those extents are to be synchronised.
   */
  load(mapOnDisk: Uint8Array): void {
    for (let extent = 0; extent < this.extentCount; extent++) {
      if (!testExtent(mapOnDisk, extent)) continue;
      this.#unproven.add(extent);
      markExtent(this.#wanted, extent);
      this.#dirtyCount++;
      this.#stale.peer.add(extent);
    }
  }

  /**
   * Merges what the other node says may differ.
   *
   * @param map The other node's map, or undefined where it sent none.
   * @param side Which side lacks the data of those extents now.
   * @param keepOwn What this node knows to be stale on the other side stays so; else it turns
   * towards `side`, too.
   */
  merge(map: Uint8Array | undefined, side: StaleSide, keepOwn = false): void {
    const other: StaleSide = side === "peer" ? "local" : "peer";
    for (let extent = 0; extent < this.extentCount; extent++) {
      const ours = this.#stale[other].has(extent);
      if (ours && keepOwn) continue;
      if (ours) this.#stale[other].delete(extent);
      if (ours || (map !== undefined && testExtent(map, extent))) this.markStale(extent, side);
    }
  }

  /** Remembers that one side lacks data of this extent. */
  markStale(extent: number, side: StaleSide): void {
    if (this.#stale[side].add(extent)) this.#update(extent);
  }

  /** {@link markStale} for every extent of a range. */
  markRangeStale(offsetBytes: number, lengthBytes: number, side: StaleSide): void {
    const last = this.lastExtent(offsetBytes, lengthBytes);
    for (let extent = this.firstExtent(offsetBytes); extent <= last; extent++) {
      this.markStale(extent, side);
    }
  }

  /** Both sides hold the whole extent now; it stays dirty until both have flushed. */
  markSynchronised(extent: number): void {
    this.#stale.peer.delete(extent);
    this.#stale.local.delete(extent);
    this.#unflushed.add(extent);
    this.#update(extent);
  }

  /** The first extent at or after `from` that is to be synchronised, or -1. */
  nextStale(from: number): number {
    const peer = this.#stale.peer.next(from, this.extentCount);
    const local = this.#stale.local.next(from, this.extentCount);
    if (peer < 0) return local;
    return local < 0 ? peer : Math.min(peer, local);
  }

  /**
   * A request is about to change a range: its extents become dirty.
   *
   * @returns whether they are all dirty on disk, so that data may be written at once; else it may
   * be after the next write of the map.
   */
  begin(offsetBytes: number, lengthBytes: number): boolean {
    const last = this.lastExtent(offsetBytes, lengthBytes);
    let durable = true;
    for (let extent = this.firstExtent(offsetBytes); extent <= last; extent++) {
      this.#pending[extent] = (this.#pending[extent] ?? 0) + 1;
      this.#use(extent);
      this.#update(extent);
      if (!testExtent(this.#durable, extent)) durable = false;
      if (this.#unproven.count > 0) this.#prove(extent);
    }
    return durable;
  }

  /** Has the sector written again where this extent has only been found on disk. */
  #prove(extent: number): void {
    if (!this.#unproven.has(extent)) return;
    const sector = Math.floor(extent / EXTENTS_PER_SECTOR);
    this.#changedSectors.add(sector);
    const first = sector * EXTENTS_PER_SECTOR;
    for (let e = first; e < Math.min(first + EXTENTS_PER_SECTOR, this.extentCount); e++) {
      this.#unproven.delete(e);
    }
  }

  /** The request that `begin` announced is over on both nodes, or given up on one and marked stale. */
  end(offsetBytes: number, lengthBytes: number): void {
    const last = this.lastExtent(offsetBytes, lengthBytes);
    for (let extent = this.firstExtent(offsetBytes); extent <= last; extent++) {
      const pending = this.#pending[extent] ?? 0;
      invariant(pending > 0, "a request ends once");
      this.#pending[extent] = pending - 1;
      this.#unflushed.add(extent);
      if (pending === 1) this.#update(extent);
    }
  }

  /** Whether a range's extents are all dirty on disk. */
  isDurable(offsetBytes: number, lengthBytes: number): boolean {
    const last = this.lastExtent(offsetBytes, lengthBytes);
    for (let extent = this.firstExtent(offsetBytes); extent <= last; extent++) {
      if (!testExtent(this.#durable, extent)) return false;
    }
    return true;
  }

  #use(extent: number): void {
    if (this.#geometry.keepdirtyCount === 0) return;
    this.#kept.delete(extent);
    this.#kept.add(extent);
    if (this.#kept.size <= this.#geometry.keepdirtyCount) return;
    for (const oldest of this.#kept) {
      this.#kept.delete(oldest);
      this.#update(oldest);
      return;
    }
  }

  /** Brings the wanted bit and the cooling set in line with the other states of an extent. */
  #update(extent: number): void {
    const inUse = (this.#pending[extent] ?? 0) > 0 || this.#stale.peer.has(extent) ||
      this.#stale.local.has(extent) || this.#kept.has(extent);
    if (inUse) {
      this.#cooling.delete(extent);
      this.#want(extent);
    } else if (testExtent(this.#wanted, extent)) {
      if (this.#unflushed.has(extent) || this.#flushing?.has(extent)) this.#cooling.add(extent);
      else this.#clean(extent);
    }
  }

  #want(extent: number): void {
    if (testExtent(this.#wanted, extent)) return;
    markExtent(this.#wanted, extent);
    this.#dirtyCount++;
    this.#changedSectors.add(Math.floor(extent / EXTENTS_PER_SECTOR));
  }

  #clean(extent: number): void {
    this.#cooling.delete(extent);
    clearExtent(this.#wanted, extent);
    this.#dirtyCount--;
    this.#changedSectors.add(Math.floor(extent / EXTENTS_PER_SECTOR));
  }

  /** Extents that become clean as soon as both nodes have flushed. */
  get coolingCount(): number {
    return this.#cooling.size;
  }

  /** Whether something was written that both nodes have yet to flush. */
  get unflushedCount(): number {
    return this.#unflushed.size + (this.#flushing?.size ?? 0);
  }

  /**
   * Both nodes are about to flush; one flush is followed at a time.
   *
   * @returns false: another one is under way, {@link endFlush} is not to be called for this one.
   */
  beginFlush(): boolean {
    if (this.#flushing !== undefined) return false;
    this.#flushing = this.#unflushed;
    this.#unflushed = new Set();
    return true;
  }

  /** That flush is over; only if both nodes succeeded are the extents it covered clean. */
  endFlush(succeeded: boolean): void {
    const flushed = this.#flushing;
    invariant(flushed !== undefined, "a flush ends once");
    this.#flushing = undefined;
    if (!succeeded) {
      for (const extent of flushed) this.#unflushed.add(extent);
      return;
    }
    for (const extent of this.#cooling) {
      if (!this.#unflushed.has(extent)) this.#clean(extent);
    }
  }

  /**
   * One side may have lost what it had not flushed: the other node with its power, the local
   * component by a failed flush. Extents that the opposite side lacks are left alone, there is
   * nothing better to copy.
   */
  markUnflushedStale(side: StaleSide): void {
    const opposite = this.#stale[side === "peer" ? "local" : "peer"];
    for (const set of [this.#unflushed, this.#flushing ?? []]) {
      for (const extent of set) {
        if (!opposite.has(extent)) this.markStale(extent, side);
      }
    }
  }

  /** Whether the map on disk is not what it should be (cleared bits can wait, set ones cannot). */
  get changed(): boolean {
    return this.#changedSectors.size > 0;
  }

  /**
   * Starts a write of the map: the sectors to write, and their content in `snapshot`, which is
   * as large as the map. From now on bits that are clear in it are no longer durable.
   */
  beginWrite(snapshot: Uint8Array): number[] {
    const sectors = [...this.#changedSectors].sort((a, b) => a - b);
    this.#changedSectors.clear();
    for (const sector of sectors) {
      const start = sector * MAP_SECTOR_BYTES;
      for (let at = start; at < start + MAP_SECTOR_BYTES; at++) {
        const wanted = this.#wanted[at] ?? 0;
        snapshot[at] = wanted;
        this.#durable[at] = (this.#durable[at] ?? 0) & wanted;
      }
    }
    return sectors;
  }

  /** The write of those sectors is on disk (and flushed, with metaflush). */
  endWrite(snapshot: Uint8Array, sectors: readonly number[]): void {
    for (const sector of sectors) {
      const start = sector * MAP_SECTOR_BYTES;
      this.#durable.set(snapshot.subarray(start, start + MAP_SECTOR_BYTES), start);
    }
  }

  /** The write failed: nothing is known of those sectors, they are to be written again. */
  failWrite(sectors: readonly number[]): void {
    for (const sector of sectors) this.#changedSectors.add(sector);
  }
}
