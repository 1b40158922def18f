/**
 * What a front serves: `core/primary.ts`, or a file in tests.
 * @module
 */
import type { UserRequest } from "../core/request.ts";

/** A stretch of the medium; `state` is made of NBD_STATE (protocol/nbd.ts). */
export interface TargetExtent {
  lengthBytes: number;
  state: number;
}

/** A disk. Everything is called from the data thread. */
export interface BlockTarget {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Zeroing a range is always faster than writing it, and never writes data. */
  readonly fastZero: boolean;
  /** Carries a request out; `completed` may be called from inside, or later. */
  submit(request: UserRequest): void;
  /**
   * What is known of a range without reading it; without this method all is data.
   *
   * @returns Extents from `offsetBytes` on, 1 to `extentCountMax` of them, none empty, together
   * at most `lengthBytes` long (less is allowed).
   */
  blockStatus?(offsetBytes: number, lengthBytes: number, extentCountMax: number): TargetExtent[];
  /** A range will be read soon. */
  cache?(offsetBytes: number, lengthBytes: number): void;
}
