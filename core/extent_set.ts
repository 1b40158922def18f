/**
 * A set of extents in one bit each.
 * @module
 */
import {
  activemapBytes,
  clearExtent,
  markExtent,
  testExtent,
} from "../protocol/activemap_layout.ts";

/** A set of extents as bits in the order of the disk, with its size kept. */
export class ExtentSet {
  readonly bits: Uint8Array<ArrayBuffer>;
  count = 0;

  constructor(extentCount: number) {
    this.bits = new Uint8Array(activemapBytes(extentCount));
  }

  has(extent: number): boolean {
    return testExtent(this.bits, extent);
  }

  /** @returns whether it was not in the set before. */
  add(extent: number): boolean {
    if (this.has(extent)) return false;
    markExtent(this.bits, extent);
    this.count++;
    return true;
  }

  /** @returns whether it was in the set. */
  delete(extent: number): boolean {
    if (!this.has(extent)) return false;
    clearExtent(this.bits, extent);
    this.count--;
    return true;
  }

  /** The first member at or after `from`, or -1. */
  next(from: number, extentCount: number): number {
    for (let extent = from; extent < extentCount; extent++) {
      if ((extent & 7) === 0 && this.bits[extent >> 3] === 0) extent += 7;
      else if (this.has(extent)) return extent;
    }
    return -1;
  }
}
