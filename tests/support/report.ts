/**
 * Turns the JUnit file of `deno test` into the last lines of `make test`: every skipped test with
 * its reason, then `N passed, N failed, N skipped`.
 *
 * Usage: report.ts FILE EXIT_CODE_OF_DENO_TEST. Exits with 1 where anything failed.
 *
 * A test that cannot run here is registered with `ignore` and the reason at the end of its name:
 * `NAME (skipped: REASON)`, which `tests/support/needs.ts` does. One without a reason is a failure.
 * @module
 */

/** One `testcase` of the file. */
interface Case {
  suite: string;
  name: string;
  outcome: "passed" | "failed" | "skipped";
}

/** What became of a run. */
export interface Report {
  passed: number;
  failed: number;
  /** One text per skipped test, with its reason. */
  skipped: string[];
  /** Tests that were skipped and do not say why; counted as failed. */
  unexplained: string[];
}

const CASE = /<testcase name="([^"]*)" classname="([^"]*)"[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g;
const REASON = / \(skipped: [^]+\)$/;

function unescapeXml(text: string): string {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'").replaceAll("&#39;", "'").replaceAll("&amp;", "&");
}

function readCases(xml: string): Case[] {
  return [...xml.matchAll(CASE)].map(([, name = "", suite = "", body = ""]) => ({
    suite: unescapeXml(suite),
    name: unescapeXml(name),
    outcome: body.includes("<failure")
      ? "failed"
      : body.includes("<skipped")
      ? "skipped"
      : "passed",
  }));
}

/** Steps count, the test around them does not, unless it failed though none of them did. */
function isCounted(test: Case, all: Case[]): boolean {
  const steps = all.filter((x) => x.suite === test.suite && x.name.startsWith(`${test.name} > `));
  if (steps.length === 0) return true;
  return test.outcome === "failed" && steps.every((step) => step.outcome !== "failed");
}

/**
 * Counts the tests of a JUnit file.
 *
 * @param xml What `deno test --junit-path` wrote, or an empty text where it wrote nothing.
 * @param exitCode What `deno test` ended with: not 0 without a failed test is one failure, such as
 *   a file that could not be loaded.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(summarize(`<testcase name="a" classname="f.ts" time="0"></testcase>`, 0).passed, 1);
 * ```
 */
export function summarize(xml: string, exitCode: number): Report {
  const all = readCases(xml);
  const counted = all.filter((test) => isCounted(test, all));
  const count = (outcome: string) => counted.filter((test) => test.outcome === outcome);
  const skipped = count("skipped");
  const unexplained = skipped.filter(({ name }) => !REASON.test(name));
  const failed = count("failed").length + unexplained.length;
  return {
    passed: count("passed").length,
    failed: failed === 0 && exitCode !== 0 ? 1 : failed,
    // No file: it is where the test was registered, often a helper.
    skipped: skipped.map(({ name }) => name).filter((name) => REASON.test(name)),
    unexplained: unexplained.map(({ suite, name }) => `${suite}: ${name}`),
  };
}

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

function readIfThere(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

if (import.meta.main) {
  const [path = "", exitCode = "1"] = Deno.args;
  const report = summarize(readIfThere(path), Number(exitCode));
  for (const name of report.skipped) print(`SKIPPED ${name}`);
  for (const name of report.unexplained) print(`FAILED ${name}: skipped without a reason`);
  print(`${report.passed} passed, ${report.failed} failed, ${report.skipped.length} skipped`);
  Deno.exit(report.failed === 0 ? 0 : 1);
}
