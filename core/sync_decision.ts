/**
 * Who is out of date? The secondary decides it at connect, from both nodes' counters.
 *
 * Each node keeps `localcnt`, raised at its first write after it lost the other side, and
 * `remotecnt`, the other's localcnt as of the last time both were in sync.
 *
 * Source: wire.md (handshake), replication.md (counters).
 * @module
 */

/** The counters of one node. */
export interface Counters {
  /** Identity of the resource, drawn by its first primary; 0 where the node was never used. */
  resuid: bigint;
  localcnt: bigint;
  remotecnt: bigint;
}

/** What the primary says of itself in the second step. */
export interface PrimaryHello extends Counters {
  /** The primary has just drawn its resuid: there is no data yet. */
  virgin: boolean;
}

/** Where synchronisation reads from. */
export type SyncSource = "primary" | "secondary";

/** The secondary's answer to the second step of the handshake. */
export interface PeerAnswer {
  localcnt: bigint;
  remotecnt: bigint;
  virgin: boolean;
  syncSource: SyncSource;
  /** The extents that it says may differ, or undefined where it sent none. */
  map: Uint8Array | undefined;
}

/** Which extents may differ: the secondary's own map, all of them, or none. */
export type MapToSend = "own" | "all" | "none";

export type SyncDecision =
  | {
    kind: "accept";
    syncSource: SyncSource;
    map: MapToSend;
    /** The secondary was never used and takes over the primary's resuid. */
    virgin: boolean;
    /** The counters are as they can never be: worth a warning. */
    unexpected: boolean;
  }
  | { kind: "resuid-mismatch"; message: string }
  | { kind: "split-brain"; message: string };

/** The exact words by which a primary knows a split-brain. */
export const SPLIT_BRAIN_MESSAGE = "Split-brain condition!";

function accept(syncSource: SyncSource, map: MapToSend, unexpected = false): SyncDecision {
  return { kind: "accept", syncSource, map, virgin: false, unexpected };
}

/**
 * The secondary's decision, first condition that holds.
 *
 * @param secondary This node's counters, from its metadata.
 * @param primary What the primary sent in the second step of the handshake.
 */
export function decideSync(secondary: Counters, primary: PrimaryHello): SyncDecision {
  if (secondary.resuid === 0n) {
    return {
      kind: "accept",
      syncSource: "primary",
      map: primary.virgin ? "none" : "all",
      virgin: true,
      unexpected: false,
    };
  }
  if (secondary.resuid !== primary.resuid) {
    return {
      kind: "resuid-mismatch",
      message:
        `Resource unique ID mismatch (primary=${primary.resuid}, secondary=${secondary.resuid}).`,
    };
  }
  const secondaryAhead = secondary.localcnt > primary.remotecnt;
  const secondaryAsKnown = secondary.localcnt === primary.remotecnt;
  const primaryAsKnown = secondary.remotecnt === primary.localcnt;
  const primaryAhead = primary.localcnt > secondary.remotecnt;
  if (secondaryAhead && primaryAsKnown) return accept("secondary", "own");
  if (secondaryAsKnown && (primaryAsKnown || primaryAhead)) return accept("primary", "own");
  if (secondaryAhead && primaryAhead) return { kind: "split-brain", message: SPLIT_BRAIN_MESSAGE };
  return accept(secondaryAhead ? "secondary" : "primary", "all", true);
}
