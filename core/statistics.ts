/**
 * What `hastctl list` shows of requests, the same in both roles.
 *
 * Source: control.md (list).
 * @module
 */

export interface IoStatistics {
  reads: number;
  writes: number;
  deletes: number;
  flushes: number;
  readErrors: number;
  writeErrors: number;
  deleteErrors: number;
  flushErrors: number;
}

/** What a request is counted as. */
export type CountedKind = "read" | "write" | "delete" | "flush";

export function newStatistics(): IoStatistics {
  return {
    reads: 0,
    writes: 0,
    deletes: 0,
    flushes: 0,
    readErrors: 0,
    writeErrors: 0,
    deleteErrors: 0,
    flushErrors: 0,
  };
}

/** A request has come. */
export function countRequest(statistics: IoStatistics, kind: CountedKind): void {
  if (kind === "read") statistics.reads++;
  else if (kind === "write") statistics.writes++;
  else if (kind === "delete") statistics.deletes++;
  else statistics.flushes++;
}

/** A request has failed on the local component. */
export function countError(statistics: IoStatistics, kind: CountedKind): void {
  if (kind === "read") statistics.readErrors++;
  else if (kind === "write") statistics.writeErrors++;
  else if (kind === "delete") statistics.deleteErrors++;
  else statistics.flushErrors++;
}
