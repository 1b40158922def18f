import { assertEquals } from "@std/assert";
import { TimerHeap } from "./timer_heap.ts";

Deno.test("runDue() calls back in the order of due times, equal ones in the order they were set", () => {
  const heap = new TimerHeap();
  const called: string[] = [];
  for (const [name, dueMs] of [["c", 30], ["a", 10], ["b1", 20], ["d", 40], ["b2", 20]] as const) {
    heap.set(dueMs, () => called.push(name));
  }
  assertEquals(heap.nextMs, 10);
  heap.runDue(9);
  assertEquals(called, []);
  heap.runDue(30);
  assertEquals(called, ["a", "b1", "b2", "c"]);
  assertEquals(heap.nextMs, 40);
});

Deno.test("clear() forgets a timer, the first one too", () => {
  const heap = new TimerHeap();
  const called: string[] = [];
  const first = heap.set(1, () => called.push("first"));
  const second = heap.set(2, () => called.push("second"));
  heap.set(3, () => called.push("third"));
  heap.clear(second);
  heap.clear(first);
  heap.clear(4711);
  assertEquals(heap.nextMs, 3);
  heap.runDue(10);
  assertEquals(called, ["third"]);
  assertEquals(heap.nextMs, undefined);
});

Deno.test("runDue() leaves timers that are set by a callback to the next call", () => {
  const heap = new TimerHeap();
  let count = 0;
  const again = () => {
    count++;
    heap.set(0, again);
  };
  heap.set(0, again);
  heap.runDue(5);
  assertEquals(count, 1);
  heap.runDue(5);
  assertEquals(count, 2);
});

Deno.test("runDue() keeps the order of a thousand random timers", () => {
  const heap = new TimerHeap();
  const called: number[] = [];
  let state = 12345;
  const dueTimes = Array.from({ length: 1000 }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state % 500;
  });
  const ids = dueTimes.map((dueMs) => heap.set(dueMs, () => called.push(dueMs)));
  ids.forEach((id, index) => index % 3 === 0 && heap.clear(id));
  for (let nowMs = 0; nowMs < 500; nowMs += 7) heap.runDue(nowMs);
  heap.runDue(500);
  const expected = dueTimes.filter((_, index) => index % 3 !== 0).sort((a, b) => a - b);
  assertEquals(called, expected);
});
