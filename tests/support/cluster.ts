/**
 * Two real daemons on this machine, `nodea` and `nodeb`, with one resource `disk0` between them:
 * what the integration tests run on.
 *
 * The programs are the launchers of `make launchers`, or those in $HAST_BIN_DIR.
 * @module
 */
import { killHard, type Result, run, startLogged } from "./process.ts";
import { waitFor, within } from "./wait.ts";

/** The resource that every cluster has. */
export const RESOURCE = "disk0";

/** What differs from the defaults of the configuration. */
export interface ClusterOptions {
  /** Size of each component, metadata included. Default 64 MiB. */
  componentBytes?: number;
  /** Lines for the resource section, such as `replication async`. */
  resourceLines?: string[];
  /** Lines in front of everything, such as `timeout 5`. */
  globalLines?: string[];
  /** Both on 127.0.0.1 with two ports, or `nodea` on 127.0.0.1 and `nodeb` on 127.0.0.2. */
  addresses?: "shared" | "separate";
  /** What each node's file with its secret holds, if it has one. */
  secrets?: readonly [a: string | undefined, b: string | undefined];
  /** Do not run `hastctl create`. */
  skipCreate?: boolean;
}

/** One resource as `hastctl list` shows it, by the names it prints. */
export type Listing = Map<string, string>;

const LOG_LINES_SHOWN = 60;
const COMPONENT_BYTES = 64 * 1024 * 1024;

function programPath(name: string): string {
  const folder = Deno.env.get("HAST_BIN_DIR") ??
    new URL("../../build/run", import.meta.url).pathname;
  return `${folder}/${name}`;
}

/** Ports that nobody listens on; another program could still take one in the meantime. */
function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((listener) => listener.addr.port);
  for (const listener of listeners) listener.close();
  return ports;
}

/** tmpfs where there is one: the tests flush a lot, and some machines do that very slowly. */
function makeFolder(): string {
  const wanted = Deno.env.get("HAST_TEST_DIR") ?? "/dev/shm";
  try {
    return Deno.makeTempDirSync({ prefix: "hast-test-", dir: wanted });
  } catch {
    return Deno.makeTempDirSync({ prefix: "hast-test-" });
  }
}

/** One node: its files, its daemon. */
export class Node {
  #daemon: Deno.ChildProcess | undefined;
  #workerPids = new Set<number>();

  constructor(
    readonly name: string,
    readonly address: string,
    readonly port: number,
    readonly folder: string,
    readonly configPath: string,
    /** Words in front of the daemon's command line: where and how it is run. */
    readonly launcher: readonly string[] = [],
  ) {}

  get componentPath(): string {
    return `${this.folder}/${this.name}.img`;
  }

  /** Where the secret is, if the node has one. */
  get secretPath(): string {
    return `${this.folder}/${this.name}.secret`;
  }

  get controlPath(): string {
    return `${this.folder}/${this.name}.ctl`;
  }

  get pidfilePath(): string {
    return `${this.folder}/${this.name}.pid`;
  }

  get logPath(): string {
    return `${this.folder}/${this.name}.log`;
  }

  /** Folder of the NBD sockets. */
  get runFolder(): string {
    return `${this.folder}/${this.name}.run`;
  }

  /** The Unix socket of the NBD export while this node is primary. */
  nbdPath(resource = RESOURCE): string {
    return `${this.runFolder}/${resource}.sock`;
  }

  /** The export for programs that take a URI. */
  nbdUri(resource = RESOURCE): string {
    return `nbd+unix:///${resource}?socket=${this.nbdPath(resource)}`;
  }

  /** Process id of the main process. */
  get pid(): number {
    if (this.#daemon === undefined) throw new Error(`The daemon of ${this.name} does not run`);
    return this.#daemon.pid;
  }

  /** What the daemon has logged so far. */
  log(): string {
    try {
      return Deno.readTextFileSync(this.logPath);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }

  /** Starts the daemon in the foreground and waits until it answers. */
  async start(): Promise<void> {
    const hastd = [programPath("hastd"), "-F", "-d", ...this.daemonArgs()];
    const [program = "", ...args] = [...this.launcher, ...hastd];
    this.#daemon = startLogged(this.logPath, program, args, { HAST_RUNDIR: this.runFolder });
    await waitFor(`hastd of ${this.name} answers`, async () => {
      return (await this.hastctl("status")).code === 0;
    });
  }

  /** Runs `hastd -n NODE -c CONFIG -P PIDFILE ARGS` to its end: in background mode, or failing. */
  hastd(...args: string[]): Promise<Result> {
    return run(programPath("hastd"), ...this.daemonArgs(), ...args);
  }

  /** Arguments of `hastd` for this node. */
  daemonArgs(): string[] {
    return ["-n", this.name, "-c", this.configPath, "-P", this.pidfilePath];
  }

  /** SIGTERM, and waits for the end. Returns the exit code. */
  async stop(): Promise<number> {
    const daemon = this.#daemon;
    if (daemon === undefined) return 0;
    daemon.kill("SIGTERM");
    const status = await within(`hastd of ${this.name} ends on SIGTERM`, daemon.status);
    this.#daemon = undefined;
    return status.code;
  }

  /** kill -9 of the main process and of the worker, at once: what a power cut does to them. */
  async crash(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    await this.#notePids();
    killHard(daemon.pid);
    this.#workerPids.forEach(killHard);
    await daemon.status;
    this.#daemon = undefined;
    this.#workerPids.clear();
  }

  /** kill -9 of the main process alone; its worker is left to find out. */
  async killMain(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    killHard(daemon.pid);
    await daemon.status;
    this.#daemon = undefined;
  }

  /** Ends whatever still runs, without a word. */
  async destroy(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    try {
      await this.stop();
    } catch {
      await this.crash(); // It did not end by itself; the test has failed already, or will.
    }
  }

  /** Runs `hastctl VERB -n NODE -c CONFIG ARGS`. */
  hastctl(verb: string, ...args: string[]): Promise<Result> {
    return run(programPath("hastctl"), verb, "-n", this.name, "-c", this.configPath, ...args);
  }

  /** `hastctl`, which must succeed. */
  async hastctlOk(verb: string, ...args: string[]): Promise<string> {
    const result = await this.hastctl(verb, ...args);
    if (result.code !== 0) {
      throw new Error(
        `hastctl ${verb} ${args.join(" ")} on ${this.name} ended with ${result.code}: ` +
          result.stderr,
      );
    }
    return result.stdout;
  }

  /** Sets the role, and waits for the export where it is primary. */
  async role(role: "init" | "primary" | "secondary", resource = RESOURCE): Promise<void> {
    await this.hastctlOk("role", role, resource);
    if (role !== "primary") return;
    await waitFor(`the NBD socket of ${this.name}`, () => this.hasExport(resource));
    await this.#notePids();
  }

  /** True while something accepts connections at the NBD socket. */
  async hasExport(resource = RESOURCE): Promise<boolean> {
    try {
      (await Deno.connect({ transport: "unix", path: this.nbdPath(resource) })).close();
      return true;
    } catch {
      return false; // Not there, or a socket file that nobody serves.
    }
  }

  /** What `hastctl list` says of one resource. */
  async list(resource = RESOURCE): Promise<Listing> {
    const text = await this.hastctlOk("list", resource);
    return new Map([...text.matchAll(/^ +([^:]+): (.*)$/gm)].map(([, name = "", value = ""]) => {
      return [name, value];
    }));
  }

  /** Process id of the worker, or undefined where none runs. */
  async workerPid(resource = RESOURCE): Promise<number | undefined> {
    const pid = (await this.list(resource)).get("workerpid");
    return pid === undefined ? undefined : Number(pid);
  }

  /** Waits until this node, the primary, is connected to the other one. */
  async waitComplete(resource = RESOURCE): Promise<void> {
    await waitFor(`${this.name} is connected to the other node`, async () => {
      return (await this.list(resource)).get("status") === "complete";
    });
  }

  /** Waits until a line of the log matches. */
  async waitLog(pattern: RegExp): Promise<void> {
    await waitFor(`log of ${this.name}: ${pattern}`, () => pattern.test(this.log()));
  }

  /** The data area of the component, all of it. */
  async readData(resource = RESOURCE): Promise<Uint8Array> {
    const { offsetBytes, dataBytes } = await this.layout(resource);
    const all = await Deno.readFile(this.componentPath);
    return all.subarray(offsetBytes, offsetBytes + dataBytes);
  }

  /** Where the data is in the component, and how large its extents are. */
  async layout(
    resource = RESOURCE,
  ): Promise<{ offsetBytes: number; dataBytes: number; extentBytes: number }> {
    const dump = await this.hastctlOk("dump", resource);
    const field = (name: string): number => {
      const match = new RegExp(`^ *${name}: (\\d+)`, "m").exec(dump);
      if (match === null) throw new Error(`hastctl dump shows no ${name}:\n${dump}`);
      return Number(match[1]);
    };
    return {
      offsetBytes: field("localoff"),
      dataBytes: field("datasize"),
      extentBytes: field("extentsize"),
    };
  }

  async #notePids(): Promise<void> {
    const result = await this.hastctl("list");
    for (const match of result.stdout.matchAll(/^ *workerpid: (\d+)$/gm)) {
      this.#workerPids.add(Number(match[1]));
    }
  }
}

/** Both nodes. Made by `withCluster()`. */
export class Cluster {
  readonly nodes: readonly [Node, Node];

  constructor(readonly folder: string, readonly a: Node, readonly b: Node) {
    this.nodes = [a, b];
  }

  /** Starts both daemons, makes `a` primary and `b` secondary, waits until they are connected. */
  async startPair(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.start()));
    await this.b.role("secondary");
    await this.a.role("primary");
    await this.a.waitComplete();
  }

  /** Gives the role from one node to the other, as an administrator does. */
  async switchRoles(from: Node, to: Node): Promise<void> {
    await from.role("secondary");
    await to.role("primary");
    await to.waitComplete();
  }

  /** Waits until both data areas are the same, to the byte; returns them. */
  async waitSameData(): Promise<Uint8Array> {
    let different = 0;
    try {
      return await waitFor("both components hold the same data", async () => {
        const [left, right] = await Promise.all([this.a.readData(), this.b.readData()]);
        different = firstDifference(left, right);
        return different === -1 ? left : undefined;
      });
    } catch (error) {
      throw new Error(`The components differ at data offset ${different}`, { cause: error });
    }
  }

  /** The last lines of both logs. */
  logs(): string {
    return this.nodes.map((node) => {
      const lines = node.log().split("\n").slice(-LOG_LINES_SHOWN);
      return `--- log of ${node.name}\n${lines.join("\n")}`;
    }).join("\n");
  }
}

/** Offset of the first byte that differs, or -1. Lengths count too. */
export function firstDifference(left: Uint8Array, right: Uint8Array): number {
  const words = (bytes: Uint8Array) =>
    new BigUint64Array(bytes.slice(0, bytes.length - bytes.length % 8).buffer);
  const [leftWords, rightWords] = [words(left), words(right)];
  const count = Math.min(leftWords.length, rightWords.length);
  let word = 0;
  while (word < count && leftWords[word] === rightWords[word]) word++;
  const end = Math.max(left.length, right.length);
  for (let i = word * 8; i < end; i++) if (left[i] !== right[i]) return i;
  return -1;
}

/** The configuration of both nodes, or with secrets that of one: those are for all nodes. */
function configText(
  nodes: readonly [Node, Node],
  options: ClusterOptions,
  secretLine = "",
): string {
  const [a, b] = nodes;
  const global = (node: Node) => `
on ${node.name} {
  control ${node.controlPath}
  pidfile ${node.pidfilePath}
  listen ${node.address}:${node.port}
}`;
  const local = (node: Node, other: Node) => `
  on ${node.name} {
    local ${node.componentPath}
    remote ${other.address}:${other.port}
    ${node.address === other.address ? "" : `source ${node.address}`}
  }`;
  return `${(options.globalLines ?? []).join("\n")}
${secretLine}
${global(a)}${global(b)}
resource ${RESOURCE} {
  ${(options.resourceLines ?? []).join("\n  ")}${local(a, b)}${local(b, a)}
}
`;
}

function makeCluster(folder: string, options: ClusterOptions): Cluster {
  const [portA = 0, portB = 0] = freePorts(2);
  const pathOf = (name: string) =>
    `${folder}/${options.secrets === undefined ? "hast" : name}.conf`;
  const addressB = options.addresses === "separate" ? "127.0.0.2" : "127.0.0.1";
  const a = new Node("nodea", "127.0.0.1", portA, folder, pathOf("nodea"));
  const b = new Node("nodeb", addressB, portB, folder, pathOf("nodeb"));
  for (const [index, node] of [a, b].entries()) {
    const secret = options.secrets?.[index];
    const line = secret === undefined ? "" : `secret ${node.secretPath}`;
    if (secret !== undefined) Deno.writeTextFileSync(node.secretPath, secret, { mode: 0o600 });
    Deno.writeTextFileSync(node.configPath, configText([a, b], options, line));
  }
  for (const node of [a, b]) {
    Deno.writeFileSync(node.componentPath, new Uint8Array());
    Deno.truncateSync(node.componentPath, options.componentBytes ?? COMPONENT_BYTES);
  }
  return new Cluster(folder, a, b);
}

/**
 * Runs a test with two nodes whose daemons it starts itself. Afterwards nothing of them is left;
 * the logs are printed where the test failed.
 */
export async function withCluster(
  options: ClusterOptions,
  test: (cluster: Cluster) => Promise<void>,
): Promise<void> {
  const folder = makeFolder();
  const cluster = makeCluster(folder, options);
  try {
    if (!options.skipCreate) {
      for (const node of cluster.nodes) await node.hastctlOk("create", RESOURCE);
    }
    await test(cluster);
  } catch (error) {
    // deno-lint-ignore no-console
    console.error(cluster.logs());
    throw error;
  } finally {
    for (const node of cluster.nodes) await node.destroy();
    Deno.removeSync(folder, { recursive: true });
  }
}
