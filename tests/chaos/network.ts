/**
 * Two network namespaces, one per node, joined by a bridge in a third one, and what can go wrong
 * between them. Linux, root, ip(8).
 *
 * A partition in one direction is an Ethernet address that nobody has: the bridge floods the
 * frames and the receiver drops them, silently, as a broken switch does. No packet filter is needed.
 * @module
 */
import { isAlive, run, runOk } from "../support/process.ts";

/** 0 and 1: the nodes. */
export type Side = 0 | 1;

/** The side opposite to `side`. */
export function otherSide(side: Side): Side {
  return side === 0 ? 1 : 0;
}

const PREFIX = "hastchaos";
const NOBODY = "02:00:00:00:00:fe";
const ADDRESSES = ["10.77.0.1", "10.77.0.2"] as const;

/** See the module. `await using` removes it. */
export class Network implements AsyncDisposable {
  readonly addresses = ADDRESSES;
  readonly #switch: string;
  readonly #hosts: readonly [string, string];

  private constructor(name: string) {
    this.#switch = `${name}-sw`;
    this.#hosts = [`${name}-h1`, `${name}-h2`];
  }

  /**
   * Makes namespaces, bridge and links.
   *
   * @throws {Error} ip(8) failed, as where this machine has no network namespaces; nothing is left.
   */
  static async create(): Promise<Network> {
    await removeLeftovers();
    const network = new Network(`${PREFIX}-${Deno.pid}-${Math.floor(Math.random() * 1e6)}`);
    try {
      await network.#build();
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
    return network;
  }

  /** Words in front of a command that run it on a node, in the mount namespace of this process. */
  launcher(side: Side): readonly string[] {
    // `ip netns exec` would make a private mount namespace: no FUSE mount would be seen.
    return ["nsenter", `--net=/run/netns/${this.#hosts[side]}`];
  }

  /** Pulls the cable of a node at the switch, or puts it back. */
  async setCable(side: Side, state: "up" | "down"): Promise<void> {
    await ip(this.#switch, "link", "set", portName(side), state);
  }

  /** From now on nothing that `from` sends arrives; it hears the other node as before. */
  async dropFrom(from: Side): Promise<void> {
    const to = ADDRESSES[otherSide(from)];
    const host = this.#hosts[from];
    await ip(host, "neigh", "replace", to, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent");
  }

  /** Undoes all of it. */
  async heal(): Promise<void> {
    for (const side of [0, 1] as const) {
      await this.setCable(side, "up");
      // Fails where there is nothing to delete.
      await run(
        "ip",
        "-n",
        this.#hosts[side],
        "neigh",
        "del",
        ADDRESSES[otherSide(side)],
        "dev",
        "eth0",
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of [...this.#hosts, this.#switch]) await run("ip", "netns", "delete", name);
  }

  async #build(): Promise<void> {
    for (const name of [this.#switch, ...this.#hosts]) await runOk("ip", "netns", "add", name);
    await ip(this.#switch, "link", "add", "br0", "type", "bridge");
    await ip(this.#switch, "link", "set", "br0", "up");
    for (const side of [0, 1] as const) {
      const [port, host] = [portName(side), this.#hosts[side]];
      const peer = ["type", "veth", "peer", "name", "eth0", "netns", host];
      await ip(this.#switch, "link", "add", port, ...peer);
      await ip(this.#switch, "link", "set", port, "master", "br0", "up");
      await ip(host, "address", "add", `${ADDRESSES[side]}/24`, "dev", "eth0");
      await ip(host, "link", "set", "eth0", "up");
      await ip(host, "link", "set", "lo", "up");
    }
  }
}

function portName(side: Side): string {
  return `v${side + 1}`;
}

async function ip(namespace: string, ...args: string[]): Promise<void> {
  await runOk("ip", "-n", namespace, ...args);
}

/** Namespaces of runs that were killed before they could clean up. */
async function removeLeftovers(): Promise<void> {
  const { stdout } = await run("ip", "netns", "list");
  for (const [, name = "", pid = ""] of stdout.matchAll(/^(hastchaos-(\d+)-\S+)/gm)) {
    if (!await isAlive(Number(pid))) await run("ip", "netns", "delete", name);
  }
}
