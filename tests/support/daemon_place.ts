/**
 * hastd and hastctl as programs, in a folder of their own; the workers are those of
 * tests/support/fake_worker.ts.
 * @module
 */
import { assert } from "@std/assert";
import { frame, FrameConn } from "./hast_wire.ts";
import { freePort } from "./main_process.ts";
import { waitFor, within } from "./wait.ts";

const PROGRAM = new URL("./fake_hastd.ts", import.meta.url).pathname;
/** The program hastctl. */
export const HASTCTL = new URL("./hastctl_main.ts", import.meta.url).pathname;

/** What a program that has ended left. */
export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

/** A folder with a configuration, and the daemons started in it. */
export class Place {
  readonly port = freePort();
  readonly #running: Deno.ChildProcess[] = [];

  constructor(readonly folder: string) {
    this.configure();
  }

  get configPath(): string {
    return `${this.folder}/hast.conf`;
  }

  /** The configuration of the cli.json cases, with what a case changes. */
  configure(
    changes: { control?: string; listen?: string; remote?: string; more?: string } = {},
  ): void {
    Deno.writeTextFileSync(
      this.configPath,
      `control ${changes.control ?? `${this.folder}/ctl`}
pidfile ${this.folder}/hastd.pid
listen ${changes.listen ?? `tcp4://127.0.0.1:${this.port}`}
resource data {
	on nodea {
		local ${this.folder}/data.img
		remote ${changes.remote ?? "tcp4://127.0.0.1"}
	}
}
${changes.more ?? ""}
`,
    );
  }

  command(...args: string[]): Deno.Command {
    return program(PROGRAM, args, this.folder, { HAST_RUNDIR: `${this.folder}/run` });
  }

  /** Runs hastd until it ends by itself. */
  async run(...args: string[]): Promise<Output> {
    return await within("hastd ends", outputOf(this.command(...args)));
  }

  /** Runs `hastctl VERB -n nodea -c CONFIG ARGS` as a program of its own. */
  async hastctl(verb: string, ...args: string[]): Promise<Output> {
    const all = [verb, "-n", "nodea", "-c", this.configPath, ...args];
    return await within("hastctl ends", outputOf(program(HASTCTL, all, this.folder)));
  }

  /** Starts hastd in the foreground, as node `nodea`, and waits until it serves. */
  async start(...args: string[]): Promise<Daemon> {
    const child = this.command("-F", "-n", "nodea", "-c", this.configPath, ...args).spawn();
    this.#running.push(child);
    const daemon = new Daemon(child);
    await waitFor("hastd serves", () => /Listening on address/.test(daemon.stdout));
    return daemon;
  }

  async destroy(): Promise<void> {
    for (const child of this.#running) {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended, as the test wanted it to.
      }
      await child.status;
    }
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A running hastd and what it has written so far. */
export class Daemon {
  stdout = "";
  stderr = "";
  readonly #read: Promise<unknown>;

  constructor(readonly child: Deno.ChildProcess) {
    this.#read = Promise.all([
      this.#collect(child.stdout, (text) => this.stdout += text),
      this.#collect(child.stderr, (text) => this.stderr += text),
    ]);
  }

  async stop(signal: Deno.Signal = "SIGTERM"): Promise<number> {
    this.child.kill(signal);
    const { code } = await within("hastd ends", this.child.status);
    await this.#read;
    return code;
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>, take: (text: string) => void) {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) take(text);
  }
}

/** Runs a test with a place of its own; nothing is left afterwards. */
export async function inPlace(test: (place: Place) => Promise<void>): Promise<void> {
  const place = new Place(await Deno.makeTempDir({ prefix: "hast-program-" }));
  try {
    await test(place);
  } finally {
    await place.destroy();
  }
}

/** A program of ours, from source. */
export function program(
  path: string,
  args: string[],
  cwd: string,
  env: Record<string, string> = {},
): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", "--no-check", "--cached-only", path, ...args],
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env,
  });
}

async function outputOf(command: Deno.Command): Promise<Output> {
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Sets the role of a resource, by its number on the wire: 1 init, 2 primary, 3 secondary. */
export async function setRole(place: Place, role: number, resource = "data"): Promise<void> {
  using conn = await FrameConn.unix(`${place.folder}/ctl`);
  await conn.send(
    frame([["cmd", "uint8", 1], ["role", "uint8", role], ["resource0", "string", resource]]),
  );
  assert((await conn.receive())?.has("role0"));
}

/** Names in a folder, sorted. */
export function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}
