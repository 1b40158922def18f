/**
 * System calls of a running process, watched or made to fail by strace(1): the only way that reaches
 * calls made through FFI.
 * @module
 */
import { startLogged } from "./process.ts";
import { waitFor } from "./wait.ts";

/** What to do with the calls on one file. */
export interface StraceOptions {
  /** Only calls on this file are looked at. */
  path: string;
  /** Names of the calls. */
  calls: string[];
  /** What happens to them, as strace's `inject=CALLS:` takes it: `error=EIO:when=1`. */
  inject?: string;
  /** Folder for its two files. */
  folder: string;
}

/** strace, attached to all threads of a process. `await using` lets go of it. */
export class Strace implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #tracePath: string;

  private constructor(child: Deno.ChildProcess, tracePath: string) {
    this.#child = child;
    this.#tracePath = tracePath;
  }

  /** Settles once it is attached to every thread that there is. */
  static async attach(pid: number, options: StraceOptions): Promise<Strace> {
    const name = `${options.folder}/strace.${crypto.randomUUID()}`;
    const calls = options.calls.join(",");
    const inject = options.inject === undefined ? [] : ["-e", `inject=${calls}:${options.inject}`];
    const child = startLogged(`${name}.log`, "strace", [
      ...["-f", "-p", String(pid), "-P", options.path, "-o", `${name}.trace`],
      ...["-e", `trace=${calls}`, ...inject],
    ]);
    const strace = new Strace(child, `${name}.trace`);
    await waitFor("strace is attached", async () => {
      const said = await Deno.readTextFile(`${name}.log`).catch(() => "");
      return / attached/.test(said);
    });
    return strace;
  }

  /** Lets go of the process; what was seen, a call per line. */
  async end(): Promise<string[]> {
    await this[Symbol.asyncDispose]();
    const text = await Deno.readTextFile(this.#tracePath);
    return text.split("\n").filter((line) => /\w+\(/.test(line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGINT");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // It has ended already.
    }
    await this.#child.status;
  }
}
