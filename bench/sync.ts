/**
 * Full synchronisation: how long it takes to copy a whole component to a secondary that was never
 * used, beside a plain copy of the same bytes over TCP, with the same checksum, in the same run.
 * Also what a user's 4k write takes meanwhile.
 * @module
 */
import { type Cluster, withCluster } from "../tests/support/cluster.ts";
import { NbdClient } from "../tests/support/nbd_client.ts";
import { runOk } from "../tests/support/process.ts";
import type { Series } from "./result.ts";

const MIB = 2 ** 20;
const DATA_BYTES = 1024 * MIB;
const COMPONENT_BYTES = DATA_BYTES + 8 * MIB;
const DELAY_MS = 1;

interface Case {
  name: string;
  content: "random" | "zeros";
  checksum: "none" | "crc32" | "sha256";
  delayMs: number;
}

const CASES: readonly Case[] = [
  { name: "1 GiB, random data", content: "random", checksum: "none", delayMs: 0 },
  { name: "1 GiB, zeros", content: "zeros", checksum: "none", delayMs: 0 },
  { name: "1 GiB, random data, crc32", content: "random", checksum: "crc32", delayMs: 0 },
  { name: "1 GiB, random data, sha256", content: "random", checksum: "sha256", delayMs: 0 },
  {
    name: `1 GiB, random data, ${DELAY_MS} ms each way`,
    content: "random",
    checksum: "none",
    delayMs: DELAY_MS,
  },
];

const PLAIN = "plain copy";
const HAST = "hast";

function script(name: string): string {
  return new URL(`./${name}`, import.meta.url).pathname;
}

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/** Runs a Python server of ours while `use` runs. */
async function withServer<T>(args: string[], use: () => Promise<T>): Promise<T> {
  const child = new Deno.Command("python3", { args, stdout: "piped" }).spawn();
  const output = child.stdout.getReader();
  try {
    await output.read(); // "listening"
    return await use();
  } finally {
    await output.cancel();
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended by itself.
    }
    await child.status;
  }
}

/** Runs `use` with a port that leads to `port`, the given time away. */
function throughDelay<T>(
  port: number,
  delayMs: number,
  use: (port: number) => Promise<T>,
): Promise<T> {
  if (delayMs === 0) return use(port);
  const relay = freePort();
  const args = [script("delay_relay.py"), `${relay}`, `${port}`, `${delayMs}`];
  return withServer(args, () => use(relay));
}

/** MiB/s of a plain copy of what node a holds to a file as large as node b's component. */
function plainCopy(cluster: Cluster, source: string, { checksum, delayMs }: Case): Promise<number> {
  const port = freePort();
  const target = `${cluster.folder}/copy`;
  Deno.createSync(target).close();
  Deno.truncateSync(target, DATA_BYTES);
  const receiver = [script("plain_copy.py"), "receive", `${port}`, target, checksum];
  return withServer(receiver, () =>
    throughDelay(port, delayMs, async (through) => {
      const sender = script("plain_copy.py");
      const args = [sender, "send", `${through}`, source, checksum, `${DATA_BYTES}`];
      const seconds = Number(await runOk("python3", ...args));
      Deno.removeSync(target);
      return DATA_BYTES / MIB / seconds;
    }));
}

/** Writes the whole export, so that its extents are dirty; returns the file with the same bytes. */
async function fillExport({ a, folder }: Cluster, content: Case["content"]): Promise<string> {
  const source = `${folder}/source`;
  const from = content === "zeros" ? "/dev/zero" : "/dev/urandom";
  await runOk("dd", `if=${from}`, `of=${source}`, "bs=1M", `count=${DATA_BYTES / MIB}`);
  await runOk("nbdcopy", source, a.nbdUri());
  return source;
}

/** Makes the other end of the link be `port` for node a. */
function redirect({ a, b }: Cluster, port: number): void {
  const text = Deno.readTextFileSync(a.configPath);
  const remote = `remote ${b.address}:${b.port}\n`;
  Deno.writeTextFileSync(a.configPath, text.replace(remote, `remote ${b.address}:${port}\n`));
}

interface SyncFigures {
  mibPerSecond: number;
  idleWriteUs: number[];
  syncWriteUs: number[];
}

const WRITE_BYTES = 4096;
const IDLE_WRITES = 2000;
const SYNC_WRITES_MAX = 20_000;

/** Times 4k writes, one at a time, over the first extents, until `enough`. */
async function timeWrites(cluster: Cluster, enough: (count: number) => boolean): Promise<number[]> {
  await using client = await NbdClient.connect(cluster.a.nbdPath());
  const data = crypto.getRandomValues(new Uint8Array(WRITE_BYTES));
  const times: number[] = [];
  while (!enough(times.length)) {
    const offset = (times.length % 256) * WRITE_BYTES;
    const startMs = performance.now();
    await client.write(offset, data);
    times.push((performance.now() - startMs) * 1000);
  }
  return times;
}

/** From the first moment at which the primary says so to the last. */
async function synchronise(cluster: Cluster, withUser: boolean): Promise<SyncFigures> {
  const { a, b } = cluster;
  await b.start();
  let over = false;
  await b.role("secondary");
  await a.hastctlOk("reload"); // It dials at once.
  await a.waitLog(/Synchronization started/);
  const startMs = performance.now();
  const users = withUser
    ? timeWrites(cluster, (count) => over || count >= SYNC_WRITES_MAX)
    : Promise.resolve([]);
  const stale = DATA_BYTES / MIB;
  for (;;) {
    if (/Synchronization complete/.test(a.log())) break;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const seconds = (performance.now() - startMs) / 1000;
  over = true;
  const syncWriteUs = await users;
  const idleWriteUs = withUser ? await timeWrites(cluster, (count) => count >= IDLE_WRITES) : [];
  return { mibPerSecond: stale / seconds, idleWriteUs, syncWriteUs };
}

async function measureCase(each: Case, series: Series[]): Promise<void> {
  const resourceLines = [`checksum ${each.checksum}`, "replication fullsync"];
  await withCluster(
    { componentBytes: COMPONENT_BYTES, resourceLines },
    (cluster) =>
      throughDelay(cluster.b.port, each.delayMs, async (port) => {
        if (port !== cluster.b.port) redirect(cluster, port);
        await cluster.a.start();
        await cluster.a.role("primary");
        const source = await fillExport(cluster, each.content);
        const plain = await plainCopy(cluster, source, each);
        Deno.removeSync(source);
        const { mibPerSecond } = await synchronise(cluster, false);
        add(series, { server: PLAIN, job: each.name, unit: "MiB/s" }, plain);
        add(series, { server: HAST, job: each.name, unit: "MiB/s" }, mibPerSecond);
      }),
  );
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((x, y) => x - y);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

async function measureLatency(series: Series[]): Promise<void> {
  const resourceLines = ["replication fullsync"];
  await withCluster({ componentBytes: COMPONENT_BYTES, resourceLines }, async (cluster) => {
    await cluster.a.start();
    await cluster.a.role("primary");
    Deno.removeSync(await fillExport(cluster, "random"));
    const { idleWriteUs, syncWriteUs } = await synchronise(cluster, true);
    for (const [name, share] of [["median", 0.5], ["p99", 0.99]] as const) {
      const job = `a user's 4k write, ${name}`;
      add(series, { server: "idle", job, unit: "us" }, percentile(idleWriteUs, share));
      add(series, { server: "synchronising", job, unit: "us" }, percentile(syncWriteUs, share));
    }
  });
}

function add(series: Series[], key: Omit<Series, "values">, value: number): void {
  // deno-lint-ignore no-console
  console.log(`${key.server}: ${key.job}: ${value.toFixed(0)} ${key.unit}`);
  const known = series.find((x) => x.server === key.server && x.job === key.job);
  if (known === undefined) series.push({ ...key, values: [value] });
  else known.values.push(value);
}

/** Figures of synchronisation beside the plain copy, and of a user's writes meanwhile. */
export async function measureSynchronisation(
  repeats: number,
): Promise<{ rates: Series[]; latencies: Series[] }> {
  const rates: Series[] = [];
  const latencies: Series[] = [];
  for (let i = 0; i < repeats; i++) {
    for (const each of CASES) await measureCase(each, rates);
    await measureLatency(latencies);
  }
  return { rates, latencies };
}
