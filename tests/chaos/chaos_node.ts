/**
 * A node of the chaos test: a real daemon in its own network namespace, whose processes can be
 * killed and stopped one by one.
 * @module
 */
import { Node, RESOURCE } from "../support/cluster.ts";
import { isAlive, killHard, run } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";
import type { Component } from "./component.ts";
import type { Side } from "./network.ts";
import type { Processes } from "./plan.ts";

/** How long a worker may outlive its parent. */
const ORPHAN_DEADLINE_MS = 5_000;
/** The node's name, for the hook program. */
export const NODE_VARIABLE = "CHAOS_NODE";

/** What `hastctl status --json` says, as far as the chaos test asks. */
export interface NodeStatus {
  /** `complete`, `degraded`, or null without a worker. */
  status: string | null;
  dirtyBytes: number | null;
  /** What one of the nodes lacks. */
  staleBytes: number | null;
  localComponent: { state: string } | null;
  connection: { state: string; reason: string | null } | null;
  sync: { active: boolean } | null;
}

export interface ChaosNodeOptions {
  side: Side;
  address: string;
  port: number;
  folder: string;
  configPath: string;
  /** Words that run a command in the node's network namespace. */
  launcher: readonly string[];
}

/** See the module. */
export class ChaosNode extends Node {
  readonly side: Side;
  /** Stands in front of the component's file, where the component is more than a file. */
  component: Component | undefined;
  /** Whether the daemon has been started and not been killed or stopped by the test. */
  running = false;
  readonly #frozen = new Set<number>();
  /** All that were ever seen: what is left of them ends with the test. */
  readonly #workerPids = new Set<number>();

  constructor(options: ChaosNodeOptions) {
    const { side, address, port, folder, configPath, launcher } = options;
    const name = side === 0 ? "nodea" : "nodeb";
    const words = ["env", `${NODE_VARIABLE}=${name}`, ...launcher];
    super(name, address, port, folder, configPath, words);
    this.side = side;
  }

  /** The file with the data, whatever stands in front of it. */
  get imagePath(): string {
    return `${this.folder}/${this.name}.img`;
  }

  override get componentPath(): string {
    return this.component?.path ?? this.imagePath;
  }

  override async start(): Promise<void> {
    await super.start();
    this.running = true;
  }

  override async stop(): Promise<number> {
    await this.findWorkers();
    this.running = false;
    return await super.stop();
  }

  /** What the daemon says of the resource. */
  async status(): Promise<NodeStatus> {
    const document: { resources: NodeStatus[] } = JSON.parse(
      await this.hastctlOk("status", "--json", RESOURCE),
    );
    const [status] = document.resources;
    if (status === undefined) throw new Error(`${this.name} does not know ${RESOURCE}`);
    return status;
  }

  /** Workers that run now, as the system sees them; the daemon is not asked. */
  async findWorkers(): Promise<number[]> {
    if (!this.running) return [];
    const title = `hastd: ${RESOURCE} \\(`;
    const { stdout } = await run("pgrep", "-P", String(this.pid), "-f", title);
    const pids = stdout.split("\n").filter((line) => line !== "").map(Number);
    for (const pid of pids) this.#workerPids.add(pid);
    return pids;
  }

  /**
   * kill -9. Where the main process is killed, this ends when the workers are gone too: they
   * must find out by themselves.
   *
   * @throws {Error} A worker lives on without its parent.
   */
  async kill(what: Processes): Promise<void> {
    const workers = await this.findWorkers();
    if (what !== "main") workers.forEach(killHard);
    if (what === "worker") return;
    this.running = false;
    await this.killMain();
    await this.waitGone();
  }

  /** kill -9 of everything, and the component loses what was not flushed. */
  async cutPower(): Promise<void> {
    const workers = await this.findWorkers();
    workers.forEach(killHard);
    killHard(this.pid);
    this.component?.cutPower();
    this.running = false;
    await this.killMain();
    await this.waitGone();
  }

  /** Waits until no worker of a daemon that was killed is left. */
  async waitGone(): Promise<void> {
    for (const pid of this.#workerPids) {
      if (this.#frozen.has(pid)) continue;
      const what = `worker ${pid} of ${this.name} ends, its parent is gone`;
      await waitFor(what, async () => !(await isAlive(pid)), ORPHAN_DEADLINE_MS);
      this.#workerPids.delete(pid);
    }
  }

  /** SIGSTOP, until {@link thaw}. */
  async freeze(what: Processes): Promise<void> {
    const workers = what === "main" ? [] : await this.findWorkers();
    const pids = what === "worker" ? workers : [...workers, this.pid];
    for (const pid of pids) {
      signal(pid, "SIGSTOP");
      this.#frozen.add(pid);
    }
  }

  /** SIGCONT for everything that {@link freeze} stopped. */
  thaw(): void {
    for (const pid of this.#frozen) signal(pid, "SIGCONT");
    this.#frozen.clear();
  }

  /** kill -9 of whatever is left. */
  override async destroy(): Promise<void> {
    await this.findWorkers();
    this.thaw();
    this.running = false;
    this.#workerPids.forEach(killHard);
    await this.killMain();
    await this.component?.[Symbol.asyncDispose]();
  }
}

/** A process that has ended meanwhile is no error. */
function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
