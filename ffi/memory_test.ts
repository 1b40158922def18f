import { assert, assertEquals, assertThrows } from "@std/assert";
import { AssertionFailed, HastError } from "../base/errors.ts";
import { Arena, type ArenaBuffer, bytesAt, mapPages, PAGE_BYTES, releasePages } from "./memory.ts";

const MIB = 1024 * 1024;

Deno.test("mapPages() gives zeroed whole pages that are seen by address as well", () => {
  const pages = mapPages(PAGE_BYTES + 1);
  assertEquals(pages.bytes.length, 2 * PAGE_BYTES);
  assertEquals(pages.address % BigInt(PAGE_BYTES), 0n);
  assert(pages.bytes.every((byte) => byte === 0));
  pages.bytes[5000] = 7;
  assertEquals(bytesAt(pages.address + 5000n, 1)[0], 7);
  releasePages(pages);
});

Deno.test("Arena rounds up to powers of two pages and aligns each piece to its size", () => {
  const arena = new Arena(64 * MIB);
  const cases = [[1, 4096], [4096, 4096], [4097, 8192], [MIB + 1, 2 * MIB], [32 * MIB, 32 * MIB]];
  for (const [asked = 0, got = 0] of cases) {
    const buffer = arena.take(asked);
    assertEquals(buffer.bytes.length, got);
    assertEquals((buffer.address - arena.address) % BigInt(got), 0n);
    buffer.bytes[got - 1] = 3;
    assertEquals(bytesAt(buffer.address + BigInt(got - 1), 1)[0], 3);
    arena.give(buffer);
  }
  assertEquals(arena.takenBytes, 0);
});

Deno.test("Arena takes the piece again that was given back last", () => {
  const arena = new Arena(MIB);
  const first = arena.take(4096);
  const second = arena.take(4096);
  assert(first.address !== second.address);
  arena.give(first);
  assertEquals(arena.take(4096).address, first.address);
});

Deno.test("Arena refuses over its limit and joins small pieces when a large one is asked for", () => {
  const arena = new Arena(MIB);
  const pages = Array.from({ length: 256 }, () => arena.take(1));
  assertEquals(new Set(pages.map((page) => page.address)).size, 256);
  assertEquals(arena.takenBytes, MIB);
  assertEquals(arena.tryTake(1), undefined);
  assertThrows(() => arena.take(1), HastError, "1048576 of 1048576 bytes are in use");
  for (const page of pages.slice(1)) arena.give(page);
  assertEquals(arena.tryTake(MIB), undefined);
  assertEquals(arena.take(MIB / 2).bytes.length, MIB / 2);
  assertThrows(() => arena.take(2 * MIB), HastError, "at most 1048576 bytes");
});

Deno.test("Arena asserts that a piece is its own and is given back once", () => {
  const arena = new Arena(MIB);
  const buffer = arena.take(1);
  assertThrows(() => new Arena(MIB).give(buffer), AssertionFailed);
  arena.give(buffer);
  assertThrows(() => arena.give(buffer), AssertionFailed);
  assertThrows(() => arena.give({ ...buffer }), AssertionFailed);
  assertThrows(() => arena.take(0), AssertionFailed);
});

Deno.test("Arena never hands out the same byte twice, in any order of take and give", () => {
  const arena = new Arena(MIB);
  const held: ArenaBuffer[] = [];
  let seed = 12345;
  const random = (limit: number) => (seed = (seed * 1103515245 + 12345) % 2 ** 31) % limit;
  let refused = 0;
  for (let step = 0; step < 20000; step++) {
    if (random(2) === 0) {
      const buffer = arena.tryTake(1 + random(1 << (8 + random(12))));
      if (buffer === undefined) refused++;
      else {
        buffer.bytes.fill(step & 0xff);
        assert(!held.some((other) => overlap(other, buffer)));
        held.push(buffer);
      }
    } else if (held.length > 0) {
      arena.give(held.splice(random(held.length), 1)[0] ?? arena.take(1));
    }
    assertEquals(arena.takenBytes, held.reduce((sum, buffer) => sum + buffer.bytes.length, 0));
  }
  assert(refused > 0, "the limit was reached");
  for (const buffer of held) arena.give(buffer);
  assertEquals(arena.take(MIB).bytes.length, MIB);
});

function overlap(a: ArenaBuffer, b: ArenaBuffer): boolean {
  return a.address < b.address + BigInt(b.bytes.length) &&
    b.address < a.address + BigInt(a.bytes.length);
}

Deno.test("memory is the same for another isolate of the process", async () => {
  const pages = mapPages(PAGE_BYTES);
  const source = `
    import { bytesAt } from ${JSON.stringify(import.meta.resolve("./memory.ts"))};
    self.onmessage = ({ data }) => {
      const bytes = bytesAt(data, 4096);
      bytes[1] = bytes[0] + 1;
      self.postMessage("done");
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  pages.bytes[0] = 41;
  const done = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage(pages.address);
  await done;
  worker.terminate();
  URL.revokeObjectURL(url);
  assertEquals(pages.bytes[1], 42);
});
