/** The judge itself: it must find every kind of damage, and nothing where there is none. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { BLOCK_BYTES, blockContent, Ledger, SECTOR_BYTES, ZERO_STAMP } from "./ledger.ts";

const BLOCK = 3;

/** A ledger with one write acknowledged, and its stamp. */
function written(): { ledger: Ledger; stamp: number } {
  const ledger = new Ledger(8);
  const stamp = ledger.newStamp();
  ledger.begin(BLOCK, stamp);
  ledger.acknowledge(BLOCK, stamp);
  return { ledger, stamp };
}

function begun(ledger: Ledger): number {
  const stamp = ledger.newStamp();
  ledger.begin(BLOCK, stamp);
  return stamp;
}

Deno.test("a new disk is zeros, and anything else is found", () => {
  const ledger = new Ledger(8);
  assertEquals(ledger.check(0, new Uint8Array(8 * BLOCK_BYTES)), undefined);
  const bytes = new Uint8Array(8 * BLOCK_BYTES);
  bytes[5 * BLOCK_BYTES + 2 * SECTOR_BYTES + 100] = 1;
  const finding = ledger.check(0, bytes);
  assertEquals([finding?.block, finding?.sector], [5, 2]);
});

Deno.test("an acknowledged write must be there", () => {
  const { ledger, stamp } = written();
  assertEquals(ledger.check(BLOCK, blockContent(BLOCK, stamp)), undefined);
  const lost = ledger.check(BLOCK, new Uint8Array(BLOCK_BYTES));
  assertMatch(lost?.problem ?? "", /holds write 0; 1 is acknowledged/);
});

Deno.test("an older write than the acknowledged one is a lost write", () => {
  const { ledger, stamp } = written();
  const newer = begun(ledger);
  ledger.acknowledge(BLOCK, newer);
  const finding = ledger.check(BLOCK, blockContent(BLOCK, stamp));
  assertMatch(finding?.problem ?? "", /holds write 1; 2 is acknowledged/);
});

Deno.test("a write whose outcome is open may be there, wholly or in part, or not", () => {
  const { ledger, stamp } = written();
  const before = blockContent(BLOCK, stamp);
  const after = blockContent(BLOCK, begun(ledger));
  const torn = before.slice();
  torn.set(after.subarray(0, 3 * SECTOR_BYTES));
  for (const bytes of [before, after, torn]) assertEquals(ledger.check(BLOCK, bytes), undefined);
});

Deno.test("a sector is not torn", () => {
  const { ledger, stamp } = written();
  const bytes = blockContent(BLOCK, stamp);
  const after = blockContent(BLOCK, begun(ledger));
  bytes.set(after.subarray(0, SECTOR_BYTES / 2));
  assertMatch(ledger.check(BLOCK, bytes)?.problem ?? "", /nobody wrote/);
});

Deno.test("an acknowledged write settles those before it whose outcome was open", () => {
  const { ledger } = written();
  const open = begun(ledger);
  const last = begun(ledger);
  ledger.acknowledge(BLOCK, last);
  assertEquals(ledger.openCount, 0);
  assert(ledger.check(BLOCK, blockContent(BLOCK, open)) !== undefined);
});

Deno.test("what was adopted must stay", () => {
  const { ledger, stamp } = written();
  const open = begun(ledger);
  assertEquals(ledger.adopt(BLOCK, blockContent(BLOCK, open)), undefined);
  assertEquals(ledger.openCount, 0);
  assertEquals(ledger.check(BLOCK, blockContent(BLOCK, open)), undefined);
  assert(ledger.check(BLOCK, blockContent(BLOCK, stamp)) !== undefined);
});

Deno.test("a trim is a write of zeros", () => {
  const { ledger, stamp } = written();
  ledger.begin(BLOCK, ZERO_STAMP);
  assertEquals(ledger.check(BLOCK, blockContent(BLOCK, stamp)), undefined);
  assertEquals(ledger.check(BLOCK, blockContent(BLOCK, ZERO_STAMP)), undefined);
  ledger.acknowledge(BLOCK, ZERO_STAMP);
  assert(ledger.check(BLOCK, blockContent(BLOCK, stamp)) !== undefined);
});

Deno.test("the right bytes in the wrong place, and every flipped byte, are found", () => {
  const { ledger, stamp } = written();
  assertMatch(ledger.check(BLOCK, blockContent(BLOCK + 1, stamp))?.problem ?? "", /nobody wrote/);
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const bytes = blockContent(BLOCK, stamp);
    bytes[i] = (bytes[i] ?? 0) ^ 0x10;
    assertEquals(ledger.check(BLOCK, bytes)?.sector, Math.floor(i / SECTOR_BYTES), `byte ${i}`);
  }
});
