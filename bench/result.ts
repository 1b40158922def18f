/**
 * Figures of a run: medians, spread, ratios, and the Markdown that shows them.
 * @module
 */
import type { Job } from "./fio.ts";

/** Figures of one load on one server, a number for each repetition. */
export interface Series {
  server: string;
  job: string;
  unit: Job["unit"] | "us";
  values: number[];
}

/** A run, as it is kept. */
export interface Run {
  date: string;
  commit: string;
  machine: string[];
  repeats: number;
  secondsPerLoad: number;
  series: Series[];
  /** Full synchronisation beside a plain copy. */
  syncRates?: Series[];
  /** A user's writes, alone and during a synchronisation. */
  syncLatencies?: Series[];
}

/**
 * The middle value, or the mean of the two in the middle.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(median([3, 1, 2]), 2);
 * assertEquals(median([4, 1, 2, 3]), 2.5);
 * ```
 */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((x, y) => x - y);
  const middle = Math.floor(sorted.length / 2);
  const [low = NaN, high = NaN] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

function round(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function cell({ values }: Series, base: Series | undefined): string {
  const middle = median(values);
  const spread = `${round(Math.min(...values))}..${round(Math.max(...values))}`;
  const ratio = base === undefined ? "" : `, ${(middle / median(base.values)).toFixed(2)}x`;
  return `${round(middle)} (${spread})${ratio}`;
}

/** A table: a row for each load, a column for each server; the first one is the yardstick. */
function table(title: string, all: readonly Series[]): string[] {
  const names = [...new Set(all.map((series) => series.server))];
  const jobs = [...new Set(all.map((series) => series.job))];
  const find = (server: string | undefined, job: string) =>
    all.find((series) => series.server === server && series.job === job);
  const row = (job: string) => {
    const base = find(names[0], job);
    const cells = names.map((name) => {
      const series = find(name, job);
      return series === undefined ? "-" : cell(series, series === base ? undefined : base);
    });
    return `| ${job}, ${base?.unit ?? ""} | ${cells.join(" | ")} |`;
  };
  return [
    `| ${title} | ${names.join(" | ")} |`,
    `|---|${names.map(() => "---|").join("")}`,
    ...jobs.map(row),
    "",
  ];
}

/** A section of docs/benchmarks.md. */
export function markdown(run: Run): string {
  return [
    `## ${run.date}, ${run.commit}`,
    "",
    ...run.machine.map((line) => `- ${line}`),
    `- ${run.repeats} repetitions of ${run.secondsPerLoad} s`,
    "",
    ...table("load", run.series),
    ...(run.syncRates === undefined ? [] : table("full synchronisation", run.syncRates)),
    ...(run.syncLatencies === undefined ? [] : table("latency", run.syncLatencies)),
  ].join("\n");
}
