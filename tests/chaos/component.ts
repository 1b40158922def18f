/**
 * A component that can be told to fail, or to lose its power: its file, served over NBD, made a
 * file again by nbdfuse. All calls of the daemon go through it, those made by FFI too.
 *
 * - *Failing*: nbdkit, whose reads or writes get EIO while a trigger file exists.
 * - *Volatile*: `volatile_disk.ts`, whose cache only a flush empties. When it is killed, what was
 *   not flushed is lost, as in a power cut; the page cache of a plain file would keep it.
 * @module
 */
import { isAlive, killHard, run, startLogged } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";
import type { ComponentKind } from "./plan.ts";

const VOLATILE_DISK = new URL("volatile_disk.ts", import.meta.url).pathname;

/** See the module. `await using` unmounts it. */
export class Component implements AsyncDisposable {
  /** What the daemon is given. */
  readonly path: string;
  readonly #imagePath: string;
  readonly #kind: ComponentKind;
  #server: Deno.ChildProcess | undefined;
  #fuse: Deno.ChildProcess | undefined;

  private constructor(imagePath: string, kind: ComponentKind) {
    this.#imagePath = imagePath;
    this.#kind = kind;
    this.path = `${imagePath}.fuse`;
  }

  /** Makes `PATH.fuse` of the file `imagePath`. */
  static async create(imagePath: string, kind: ComponentKind): Promise<Component> {
    const component = new Component(imagePath, kind);
    try {
      await component.restorePower();
    } catch (error) {
      await component[Symbol.asyncDispose]();
      throw error;
    }
    return component;
  }

  /** From now on it fails, or it works. */
  setFailing(failing: boolean): void {
    if (failing) Deno.writeTextFileSync(this.#triggerPath, "");
    else Deno.removeSync(this.#triggerPath);
  }

  /** Loses what was not flushed; nothing works before {@link restorePower}. Does not wait. */
  cutPower(): void {
    if (this.#server !== undefined) killHard(this.#server.pid);
  }

  /** Starts it, for the first time or again; nobody has it open. */
  async restorePower(): Promise<void> {
    await this[Symbol.asyncDispose]();
    const log = `${this.path}.log`;
    const [program = "", ...args] = this.#serverCommand();
    this.#server = startLogged(log, program, args);
    await waitFor("the component's server listens", () => exists(this.#socketPath));
    Deno.writeTextFileSync(this.path, "");
    const uri = `nbd+unix:///?socket=${this.#socketPath}`;
    this.#fuse = startLogged(log, "nbdfuse", ["-C", "4", this.path, uri]);
    await waitFor("nbdfuse shows the component", () => Deno.statSync(this.path).size > 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#fuse !== undefined) await run("fusermount3", "-u", "-z", this.path);
    for (const child of [this.#fuse, this.#server]) {
      if (child === undefined) continue;
      if (await isAlive(child.pid)) killHard(child.pid);
      await child.status;
    }
    this.#fuse = this.#server = undefined;
    if (exists(this.#socketPath)) Deno.removeSync(this.#socketPath);
  }

  get #socketPath(): string {
    return `${this.path}.sock`;
  }

  get #triggerPath(): string {
    return `${this.path}.fails`;
  }

  #serverCommand(): string[] {
    const kind = this.#kind;
    if (kind.kind === "volatile") {
      const deno = [Deno.execPath(), "run", "--quiet", "-A", "--cached-only"];
      return [...deno, VOLATILE_DISK, this.#imagePath, this.#socketPath];
    }
    const error = `error-${kind.operation}`;
    const when = [`${error}-rate=${kind.ratePercent}%`, `${error}-file=${this.#triggerPath}`];
    const server = ["nbdkit", "-f", "-U", this.#socketPath, "--filter=error"];
    return [...server, "file", this.#imagePath, `${error}=EIO`, ...when];
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
