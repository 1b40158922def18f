/**
 * The two nodes of an episode, who of them is primary, and what is asked of both at the end of a
 * round: connected, synchronised, equal.
 * @module
 */
import { firstDifference, RESOURCE } from "../support/cluster.ts";
import { waitFor } from "../support/wait.ts";
import { ChaosNode, NODE_VARIABLE, type NodeStatus } from "./chaos_node.ts";
import { Component } from "./component.ts";
import type { Journal } from "./journal.ts";
import { BLOCK_BYTES } from "./ledger.ts";
import { type Network, otherSide, type Side } from "./network.ts";
import { type Episode, type Role, TIMEOUT_SECONDS } from "./plan.ts";

const PORT = 8457;
const COMPONENT_BYTES = 64 * 1024 * 1024;
/** Small, so that there are many: see `Round.load`. */
const EXTENT_BYTES = 16 * 1024;
const KEEPDIRTY = 4;
/** A primary dials every 10 s; then a full synchronisation on a busy machine. */
const WHOLE_DEADLINE_MS = 40_000;
/** What was acknowledged may still be on its way to the other disk. */
const EQUAL_DEADLINE_MS = 10_000;
const LOG_LINES_SHOWN = 40;

/** Lines that no daemon may log, whatever is done to it. */
const BAD_LINES = [
  /signal=(?!9\)|15\))\d+/, // Killed by something else than this test or its parent.
  /exitcode=(70|1)\)/,
  /\b(Type|Range|Reference|Syntax)Error\b/,
  /Assertion|invariant|[Uu]ncaught/,
  /^\s+at .*\.ts:\d+/,
];

/** Connected, nothing to copy, and dirty only what `keepdirty` explains. */
function isWhole({ status, staleBytes, dirtyBytes, sync, localComponent }: NodeStatus): boolean {
  return status === "complete" && staleBytes === 0 && sync?.active !== true &&
    dirtyBytes !== null && dirtyBytes <= KEEPDIRTY * EXTENT_BYTES &&
    localComponent?.state === "in-service";
}

/** See the module. */
export class Pair {
  readonly nodes: readonly [ChaosNode, ChaosNode];
  primarySide: Side = 0;
  readonly #hookLogPath: string;
  readonly #logStart = [0, 0];

  private constructor(
    readonly folder: string,
    readonly network: Network,
    readonly episode: Episode,
  ) {
    const configPath = `${folder}/hast.conf`;
    this.#hookLogPath = `${folder}/hooks.log`;
    const node = (side: Side) =>
      new ChaosNode({
        side,
        address: network.addresses[side],
        port: PORT,
        folder,
        configPath,
        launcher: network.launcher(side),
      });
    this.nodes = [node(0), node(1)];
  }

  /** Makes both components and the configuration, starts both daemons and connects them. */
  static async create(folder: string, network: Network, episode: Episode): Promise<Pair> {
    const pair = new Pair(folder, network, episode);
    try {
      await pair.#prepare();
      await pair.#connect();
    } catch (error) {
      await pair.destroy();
      throw error;
    }
    return pair;
  }

  get primary(): ChaosNode {
    return this.nodes[this.primarySide];
  }

  get secondary(): ChaosNode {
    return this.nodes[otherSide(this.primarySide)];
  }

  /** The node that has this role at the moment. */
  byRole(role: Role): ChaosNode {
    return role === "primary" ? this.primary : this.secondary;
  }

  /** Blocks of the disk. */
  async blockCount(): Promise<number> {
    return Math.floor((await this.primary.layout()).dataBytes / BLOCK_BYTES);
  }

  /**
   * Waits until the nodes are connected and nothing is left to be synchronised.
   *
   * @throws {Error} That takes too long.
   */
  async waitWhole(): Promise<void> {
    let status: NodeStatus | undefined;
    try {
      await waitFor("connected and synchronised", async () => {
        status = await this.primary.status();
        return isWhole(status);
      }, WHOLE_DEADLINE_MS);
    } catch (error) {
      const text = JSON.stringify(status);
      throw new Error(`${this.primary.name} does not become whole: ${text}`, { cause: error });
    }
  }

  /**
   * Waits until both components hold the same data.
   *
   * @returns The data.
   * @throws {Error} They stay different.
   */
  async waitEqual(journal: Journal): Promise<Uint8Array<ArrayBuffer>> {
    let different = 0;
    let attempts = 0;
    try {
      return await waitFor("both components hold the same data", async () => {
        attempts++;
        const [left, right] = await Promise.all(this.nodes.map((node) => this.readData(node)));
        if (left === undefined || right === undefined) return undefined;
        different = firstDifference(left, right);
        return different === -1 ? left : undefined;
      }, EQUAL_DEADLINE_MS);
    } catch (error) {
      throw new Error(
        `The components stay different, at block ${Math.floor(different / BLOCK_BYTES)} ` +
          `(data offset ${different}), and the primary says that all is well`,
        { cause: error },
      );
    } finally {
      if (attempts > 1) journal.note(`equal only at look number ${attempts}`);
    }
  }

  /** The data area of a node's component. */
  async readData(node: ChaosNode): Promise<Uint8Array<ArrayBuffer>> {
    const { offsetBytes, dataBytes } = await node.layout();
    const all = await Deno.readFile(node.componentPath);
    return all.subarray(offsetBytes, offsetBytes + dataBytes);
  }

  /** Events for which hooks have run, by node: `nodea split-brain disk0`. */
  hookCalls(): string[] {
    try {
      return Deno.readTextFileSync(this.#hookLogPath).split("\n").filter((line) => line !== "");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  /** Remembers how long the logs are: what comes behind belongs to this round. */
  beginRound(): void {
    for (const { side } of this.nodes) this.#logStart[side] = this.nodes[side].log().length;
  }

  /** What a node has logged in this round. */
  roundLog(node: ChaosNode): string {
    return node.log().slice(this.#logStart[node.side]);
  }

  /**
   * Looks for lines that must not be there.
   *
   * @throws {Error} There is one.
   */
  checkLogs(forbidden: readonly RegExp[] = []): void {
    for (const node of this.nodes) {
      for (const line of this.roundLog(node).split("\n")) {
        if ([...BAD_LINES, ...forbidden].some((pattern) => pattern.test(line))) {
          throw new Error(`${node.name} has logged what it must never: ${line}`);
        }
      }
    }
  }

  /** The last lines of both logs. */
  lastLogLines(): string {
    return this.nodes.map((node) => {
      const lines = node.log().split("\n").slice(-LOG_LINES_SHOWN);
      return `--- log of ${node.name}\n${lines.join("\n")}`;
    }).join("\n");
  }

  /** `hastctl create`: the node holds nothing any more. Its role is init. */
  async createComponent(node: ChaosNode): Promise<void> {
    const sizes = ["-e", String(EXTENT_BYTES), "-k", String(KEEPDIRTY)];
    await node.hastctlOk("create", ...sizes, RESOURCE);
  }

  /** Ends all processes. */
  async destroy(): Promise<void> {
    for (const node of this.nodes) await node.destroy();
  }

  async #prepare(): Promise<void> {
    const { component } = this.episode;
    for (const node of this.nodes) {
      Deno.writeFileSync(node.imagePath, new Uint8Array());
      Deno.truncateSync(node.imagePath, COMPONENT_BYTES);
      const plain = component?.kind === "failing" && component.side !== node.side;
      if (component === undefined || plain) continue;
      node.component = await Component.create(node.imagePath, component);
    }
    const [a] = this.nodes;
    const hookPath = `${this.folder}/hook.sh`;
    const hook = `#!/bin/sh\necho "$${NODE_VARIABLE} $*" >>${this.#hookLogPath}\n`;
    Deno.writeTextFileSync(hookPath, hook, { mode: 0o755 });
    Deno.writeTextFileSync(a.configPath, this.#config(hookPath));
    for (const node of this.nodes) await this.createComponent(node);
  }

  async #connect(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()));
    await this.secondary.role("secondary");
    await this.primary.role("primary");
    await this.primary.waitComplete();
  }

  #config(hookPath: string): string {
    const [a, b] = this.nodes;
    const { replication, checksum, compression, metaflush } = this.episode;
    const global = (node: ChaosNode) => `
on ${node.name} {
  control ${node.controlPath}
  pidfile ${node.pidfilePath}
  listen ${node.address}:${node.port}
}`;
    const local = (node: ChaosNode, other: ChaosNode) => `
  on ${node.name} {
    local ${node.componentPath}
    remote ${other.address}:${other.port}
  }`;
    return `timeout ${TIMEOUT_SECONDS}
replication ${replication}
checksum ${checksum}
compression ${compression}
metaflush ${metaflush}
exec ${hookPath}
${global(a)}${global(b)}
resource ${RESOURCE} {${local(a, b)}${local(b, a)}
}
`;
  }
}
