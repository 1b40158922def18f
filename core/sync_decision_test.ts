import { assertEquals } from "@std/assert";
import { type Counters, decideSync, type SyncDecision } from "./sync_decision.ts";

function secondary(localcnt: number, remotecnt: number, resuid = 7n): Counters {
  return { resuid, localcnt: BigInt(localcnt), remotecnt: BigInt(remotecnt) };
}

function summary(decision: SyncDecision): string {
  if (decision.kind !== "accept") return decision.kind;
  const unexpected = decision.unexpected ? ", unexpected" : "";
  return `${decision.map} from ${decision.syncSource}${unexpected}`;
}

function decide(s: Counters, localcnt: number, remotecnt: number): string {
  return summary(
    decideSync(s, { ...secondary(localcnt, remotecnt), virgin: false }),
  );
}

Deno.test("decideSync() answers the cases that the original documents as it does", () => {
  const s = secondary(3, 3);
  assertEquals(decide(s, 2, 2), "all from secondary, unexpected");
  assertEquals(decide(s, 2, 3), "all from primary, unexpected");
  assertEquals(decide(s, 2, 4), "all from primary, unexpected");
  assertEquals(decide(s, 3, 2), "own from secondary");
  assertEquals(decide(s, 3, 3), "own from primary");
  assertEquals(decide(s, 3, 4), "all from primary, unexpected");
  assertEquals(decide(s, 4, 2), "split-brain");
  assertEquals(decide(s, 4, 3), "own from primary");
  assertEquals(decide(s, 4, 4), "all from primary, unexpected");
});

Deno.test("decideSync() refuses exactly where both nodes have what the other has not seen", () => {
  for (let code = 0; code < 4 ** 4; code++) {
    const [sl, sr, pl, pr] = [code & 3, (code >> 2) & 3, (code >> 4) & 3, (code >> 6) & 3];
    const bothAhead = sl > pr && pl > sr;
    assertEquals(decide(secondary(sl, sr), pl, pr) === "split-brain", bothAhead);
  }
});

Deno.test("decideSync() never copies over a node that alone has what the other has not seen", () => {
  for (let code = 0; code < 4 ** 4; code++) {
    const [sl, sr, pl, pr] = [code & 3, (code >> 2) & 3, (code >> 4) & 3, (code >> 6) & 3];
    const answer = decide(secondary(sl, sr), pl, pr);
    if (sl > pr && pl <= sr) assertEquals(answer.includes("from secondary"), true);
    if (sl <= pr && pl > sr) assertEquals(answer.includes("from primary"), true);
  }
});

Deno.test("decideSync() lets a node that was never used take over the resource id", () => {
  const primary = { resuid: 9n, localcnt: 0n, remotecnt: 0n };
  const fresh = { resuid: 0n, localcnt: 0n, remotecnt: 0n };
  const both = decideSync(fresh, { ...primary, virgin: true });
  assertEquals(both, {
    kind: "accept",
    syncSource: "primary",
    map: "none",
    virgin: true,
    unexpected: false,
  });
  const used = decideSync(fresh, { ...primary, virgin: false });
  assertEquals(summary(used), "all from primary");
});

Deno.test("decideSync() refuses another resource, whatever the counters", () => {
  const decision = decideSync(secondary(1, 1, 5n), { ...secondary(1, 1, 6n), virgin: true });
  assertEquals(decision, {
    kind: "resuid-mismatch",
    message: "Resource unique ID mismatch (primary=6, secondary=5).",
  });
});
