import { assertEquals } from "@std/assert";
import { summarize } from "./report.ts";

function testcase(name: string, body = ""): string {
  return `<testcase name="${name}" classname="./a_test.ts" time="0.000" line="1" col="6">
        ${body}
        </testcase>
`;
}

const FAILURE = `<failure message="Uncaught Error: x">Error: x</failure>`;

Deno.test("summarize() counts passed, failed and skipped tests", () => {
  const xml = testcase("a") + testcase("b", FAILURE) +
    testcase("c &gt; d (skipped: no &lt;root&gt; (here))", "<skipped/>");
  assertEquals(summarize(xml, 1), {
    passed: 1,
    failed: 1,
    skipped: ["c > d (skipped: no <root> (here))"],
    unexplained: [],
  });
});

Deno.test("summarize() counts steps instead of the test around them", () => {
  const xml = testcase("a", `<failure message="1 test step failed">1 test step failed.</failure>`) +
    testcase("a &gt; one") + testcase("a &gt; two", FAILURE);
  const report = summarize(xml, 1);
  assertEquals([report.passed, report.failed], [1, 1]);
});

Deno.test("summarize() counts a test that failed though its steps passed", () => {
  const report = summarize(testcase("a", FAILURE) + testcase("a &gt; one"), 1);
  assertEquals([report.passed, report.failed], [1, 1]);
});

Deno.test("summarize() counts a skipped test without a reason as failed", () => {
  const report = summarize(testcase("a", "<skipped/>"), 0);
  assertEquals(report, {
    passed: 0,
    failed: 1,
    skipped: [],
    unexplained: ["./a_test.ts: a"],
  });
});

Deno.test("summarize() counts a run without a failed test but with an exit code as failed", () => {
  assertEquals(summarize("", 1).failed, 1);
  assertEquals(summarize(testcase("a"), 1).failed, 1);
  assertEquals(summarize(testcase("a"), 0).failed, 0);
});
