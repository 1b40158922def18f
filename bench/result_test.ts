import { assertEquals, assertStringIncludes } from "@std/assert";
import { markdown, median, type Run } from "./result.ts";

const RUN: Run = {
  date: "2026-01-02",
  commit: "abc",
  machine: ["2 CPUs"],
  repeats: 3,
  secondsPerLoad: 4,
  series: [
    { server: "base", job: "4k", unit: "IOPS", values: [2000, 1000, 4000] },
    { server: "ours", job: "4k", unit: "IOPS", values: [900, 1100, 1000] },
  ],
};

Deno.test("median() takes the middle, of an even number the mean of both middles", () => {
  assertEquals(median([5, 1, 9]), 5);
  assertEquals(median([10, 2, 4, 8]), 6);
});

Deno.test("markdown() shows median, spread and the ratio to the first server", () => {
  const text = markdown(RUN);
  assertStringIncludes(text, "| load | base | ours |");
  assertStringIncludes(
    text,
    "| 4k, IOPS | 2,000 (1,000..4,000) | 1,000 (900..1,100), 0.50x |",
  );
});
