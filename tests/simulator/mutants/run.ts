/**
 * Plants each bug of `mutants.ts` into a copy of the sources and runs the simulator on it: it must
 * fail. Exits with 1 if a bug gets past it.
 *
 * `deno run -A tests/simulator/mutants/run.ts [WORD]` takes those whose name contains WORD;
 * SIM_COUNT is the number of seeds.
 * @module
 */
import { dirname, join } from "node:path";
import { type Mutant, MUTANTS } from "./mutants.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
const COPIED = [
  "base",
  "conf",
  "core",
  "protocol",
  "std",
  "tests/simulator",
  "deno.json",
  "deno.lock",
];
const SEED_COUNT = Deno.env.get("SIM_COUNT") ?? "1500";
const TESTS = ["tests/simulator/simulator_test.ts", "tests/simulator/split_brain_test.ts"];
/** A planted bug may make a run endless. */
const TIMEOUT_MS = 120_000;

async function copyTree(from: string, to: string): Promise<void> {
  const { isDirectory } = await Deno.stat(from);
  if (!isDirectory) {
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.copyFile(from, to);
    return;
  }
  await Deno.mkdir(to, { recursive: true });
  for await (const entry of Deno.readDir(from)) {
    await copyTree(join(from, entry.name), join(to, entry.name));
  }
}

async function plant(root: string, { name, file, from, to }: Mutant): Promise<void> {
  const path = join(root, file);
  const source = await Deno.readTextFile(path);
  const count = source.split(from).length - 1;
  if (count !== 1) throw new Error(`${name}: ${count} places in ${file}`);
  await Deno.writeTextFile(path, source.replace(from, () => to));
}

/** Returns whether the tests of the simulator fail. */
async function isFound(root: string): Promise<boolean> {
  const test = new Deno.Command(Deno.execPath(), {
    args: ["test", "--quiet", "--fail-fast", "--no-check", "--allow-all", ...TESTS],
    cwd: root,
    env: { SIM_COUNT: SEED_COUNT, NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const { success } = await test.output();
  return !success;
}

/** @param mutant undefined: the sources as they are. */
async function survives(mutant: Mutant | undefined): Promise<boolean> {
  const root = await Deno.makeTempDir({ prefix: "hast-mutant" });
  try {
    for (const path of COPIED) await copyTree(join(ROOT, path), join(root, path));
    if (mutant !== undefined) await plant(root, mutant);
    return !await isFound(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

async function main(): Promise<number> {
  const word = Deno.args[0] ?? "";
  const chosen = MUTANTS.filter(({ name }) => name.includes(word));
  if (!await survives(undefined)) throw new Error("the simulator fails without a planted bug");
  let survivorCount = 0;
  for (const mutant of chosen) {
    const survived = await survives(mutant);
    if (survived) survivorCount++;
    say(`${survived ? "NOT FOUND" : "found    "}  ${mutant.name}`);
  }
  say(`${chosen.length} planted bugs, ${survivorCount} not found`);
  return survivorCount > 0 || chosen.length === 0 ? 1 : 0;
}

Deno.exitCode = await main();
