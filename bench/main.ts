/**
 * `make bench`: fio over NBD on a pair in each replication mode, beside nbdkit, in turns so that a
 * slow minute of the machine hits all of them; then full synchronisations beside plain copies.
 *
 * Environment: BENCH_REPEATS (3), BENCH_SECONDS per load (4). BENCH_KEEP=1 adds the run to
 * docs/benchmarks.md and docs/benchmarks/; otherwise it is in build/bench/ only.
 * @module
 */
import { fill, JOBS, measure } from "./fio.ts";
import { commit, describeMachine } from "./machine.ts";
import { markdown, type Run, type Series } from "./result.ts";
import { type Server, servers } from "./servers.ts";
import { measureSynchronisation } from "./sync.ts";

const COMPONENT_BYTES = 320 * 2 ** 20;
const USED_BYTES = 256 * 2 ** 20;
const HEADING = "\n## ";

function setting(name: string, fallback: number): number {
  const value = Number(Deno.env.get(name) ?? fallback);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} is not a number from 1`);
  return value;
}

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

function emptySeries(all: readonly Server[]): Series[] {
  return all.flatMap((server) =>
    JOBS.map((job) => ({ server: server.name, job: job.name, unit: job.unit, values: [] }))
  );
}

async function measureServer(server: Server, seconds: number, series: Series[]): Promise<void> {
  await server.run(async (uri, folder) => {
    const target = { uri, folder, sizeBytes: USED_BYTES, seconds };
    await fill(target);
    for (const job of JOBS) {
      const value = await measure(job, target);
      series.find((x) => x.server === server.name && x.job === job.name)?.values.push(value);
      print(`${server.name}: ${job.name}: ${value.toFixed(0)} ${job.unit}`);
    }
  });
}

/** The order changes from one repetition to the next. */
function rotated<T>(all: readonly T[], by: number): T[] {
  return all.map((_, i) => all[(i + by) % all.length]).filter((x) => x !== undefined);
}

async function measureAll(): Promise<Run> {
  const repeats = setting("BENCH_REPEATS", 3);
  const secondsPerLoad = setting("BENCH_SECONDS", 4);
  const all = servers(COMPONENT_BYTES);
  const series = emptySeries(all);
  let machine: string[] = [];
  await all[0]?.run(async (_, folder) => void (machine = await describeMachine(folder)));
  for (let i = 0; i < repeats; i++) {
    for (const server of rotated(all, i)) await measureServer(server, secondsPerLoad, series);
  }
  const { rates, latencies } = await measureSynchronisation(repeats);
  const date = new Date().toISOString().slice(0, 10);
  return {
    date,
    commit: await commit(),
    machine,
    repeats,
    secondsPerLoad,
    series,
    syncRates: rates,
    syncLatencies: latencies,
  };
}

/** Puts the newest run in front of the older ones. */
function addToPage(path: string, section: string): void {
  const page = Deno.readTextFileSync(path);
  const at = page.indexOf(HEADING);
  const [head, rest] = at === -1
    ? [page.trimEnd() + "\n", ""]
    : [page.slice(0, at), page.slice(at)];
  Deno.writeTextFileSync(path, `${head}\n${section}${rest}`);
}

async function keep(run: Run, section: string): Promise<void> {
  const folder = Deno.env.get("BENCH_KEEP") === "1" ? "docs/benchmarks" : "build/bench";
  const file = `${folder}/${run.date}-${run.commit}.json`;
  Deno.mkdirSync(folder, { recursive: true });
  Deno.writeTextFileSync(file, JSON.stringify(run, null, 2) + "\n");
  if (folder === "docs/benchmarks") {
    addToPage("docs/benchmarks.md", section);
    const args = ["fmt", "--quiet", file, "docs/benchmarks.md"];
    await new Deno.Command(Deno.execPath(), { args }).output();
  }
  print(`The figures are in ${file}.`);
}

const run = await measureAll();
const section = markdown(run);
print(`\n${section}`);
await keep(run, section);
