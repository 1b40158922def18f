/**
 * The loads that are measured, and fio that makes them over NBD.
 *
 * fio's latencies of its nbd engine are not reliable for fast servers; operations per second are.
 * @module
 */
import { runOk } from "../tests/support/process.ts";

/** One load. */
export interface Job {
  name: string;
  /** fio's `rw`. */
  pattern: "randwrite" | "write" | "randread" | "read";
  blockBytes: number;
  queueDepth: number;
  /** What its figure is best given in. */
  unit: "IOPS" | "MiB/s";
}

export const JOBS: readonly Job[] = [
  { name: "4k random write, depth 1", pattern: "randwrite", ...small(1) },
  { name: "4k random write, depth 16", pattern: "randwrite", ...small(16) },
  { name: "128k write, depth 8", pattern: "write", ...large(8) },
  { name: "4k random read, depth 16", pattern: "randread", ...small(16) },
  { name: "128k read, depth 8", pattern: "read", ...large(8) },
];

function small(queueDepth: number) {
  return { blockBytes: 4096, queueDepth, unit: "IOPS" } as const;
}

function large(queueDepth: number) {
  return { blockBytes: 131_072, queueDepth, unit: "MiB/s" } as const;
}

/** Where and how long. */
export interface Target {
  uri: string;
  /** Folder for fio's scratch files. */
  folder: string;
  /** Bytes of the export that are used. */
  sizeBytes: number;
  seconds: number;
}

interface Figures {
  iops: number;
  bytesPerSecond: number;
}

function property(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.entries(value).find(([name]) => name === key)?.[1];
}

function figuresOf(text: string, side: "read" | "write"): Figures {
  // fio may print warnings of its own in front of the JSON.
  const job = property(property(JSON.parse(text.slice(text.indexOf("{"))), "jobs"), "0");
  const figures = property(job, side);
  const [iops, bytesPerSecond] = [property(figures, "iops"), property(figures, "bw_bytes")];
  if (typeof iops !== "number" || typeof bytesPerSecond !== "number") {
    throw new Error(`fio printed no figures for ${side}:\n${text}`);
  }
  return { iops, bytesPerSecond };
}

function commonArguments({ uri, folder, sizeBytes }: Target): string[] {
  return [
    "--ioengine=nbd",
    `--uri=${uri}`,
    `--size=${sizeBytes}`,
    `--aux-path=${folder}`,
    "--output-format=json",
  ];
}

/** Writes the whole range once, so that no load meets holes. */
export async function fill(target: Target): Promise<void> {
  await runOk(
    "fio",
    "--name=fill",
    "--rw=write",
    "--bs=1M",
    "--iodepth=4",
    ...commonArguments(target),
  );
}

/** Runs one load; its figure in the unit of the job. */
export async function measure(job: Job, target: Target): Promise<number> {
  const text = await runOk(
    "fio",
    "--name=load",
    `--rw=${job.pattern}`,
    `--bs=${job.blockBytes}`,
    `--iodepth=${job.queueDepth}`,
    "--time_based",
    "--ramp_time=1",
    `--runtime=${target.seconds}`,
    ...commonArguments(target),
  );
  const figures = figuresOf(text, job.pattern.endsWith("read") ? "read" : "write");
  return job.unit === "IOPS" ? figures.iops : figures.bytesPerSecond / 2 ** 20;
}
