/**
 * A component that can be told to fail: its file, served by nbdkit with the error filter, made a
 * file again by nbdfuse. All calls of the daemon go through it, those made by FFI too.
 *
 * Reads and writes fail while a trigger file exists.
 * @module
 */
import { isAlive, killHard, run, startLogged } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";
import type { FaultyDisk } from "./plan.ts";

/** What {@link FaultyComponent} needs of the machine. */
export const FAULTY_COMPONENT_PROGRAMS = ["nbdkit", "nbdfuse", "fusermount3"] as const;

/** See the module. `await using` unmounts it. */
export class FaultyComponent implements AsyncDisposable {
  readonly #triggerPath: string;
  readonly #children: Deno.ChildProcess[] = [];

  /** @param path Of the component that fails, which is what the daemon is given. */
  private constructor(readonly path: string) {
    this.#triggerPath = `${path}.fails`;
  }

  /** Makes `PATH.fuse` of the file `imagePath`. */
  static async create(imagePath: string, disk: FaultyDisk): Promise<FaultyComponent> {
    const component = new FaultyComponent(`${imagePath}.fuse`);
    try {
      await component.#start(imagePath, disk);
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

  async #start(imagePath: string, { operation, ratePercent }: FaultyDisk): Promise<void> {
    const socketPath = `${this.path}.sock`;
    const error = `error-${operation}`;
    this.#children.push(startLogged(`${this.path}.log`, "nbdkit", [
      "-f",
      "-U",
      socketPath,
      "--filter=error",
      "file",
      imagePath,
      `${error}=EIO`,
      `${error}-rate=${ratePercent}%`,
      `${error}-file=${this.#triggerPath}`,
    ]));
    await waitFor("nbdkit listens", () => exists(socketPath));
    Deno.writeTextFileSync(this.path, "");
    const uri = `nbd+unix:///?socket=${socketPath}`;
    this.#children.push(startLogged(`${this.path}.log`, "nbdfuse", ["-C", "4", this.path, uri]));
    await waitFor("nbdfuse shows the component", () => Deno.statSync(this.path).size > 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("fusermount3", "-u", "-z", this.path);
    for (const child of this.#children.reverse()) {
      if (await isAlive(child.pid)) killHard(child.pid);
      await child.status;
    }
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
