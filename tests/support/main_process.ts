/**
 * The main process of hastd inside a test: real sockets, real (fake) workers, no program of its
 * own.
 * @module
 */
import type { ResourceConfig } from "../../conf/config.ts";
import { type DaemonHandle, HastdDesk } from "../../hastd/control_desk.ts";
import { HANDSHAKE_TIMEOUT_MS, HandshakeServer } from "../../hastd/handshake_server.ts";
import { Hooks } from "../../hastd/hooks.ts";
import { Listener } from "../../hastd/listener.ts";
import { PeerAccess, type Resolver } from "../../hastd/peer_access.ts";
import { Supervisor } from "../../hastd/supervisor.ts";
import type { WorkerCommand } from "../../hastd/worker_process.ts";
import { Recorder } from "./recorder.ts";

/** The program tests/support/fake_worker.ts. */
export const FAKE_WORKER: WorkerCommand = {
  path: Deno.execPath(),
  args: [
    "run",
    "--quiet",
    "--allow-all",
    "--no-check",
    "--cached-only",
    new URL("./fake_worker.ts", import.meta.url).pathname,
  ],
};

/** A resource named `name` whose other node is this host. */
export function resourceConfig(
  name: string,
  changes: Partial<ResourceConfig> = {},
): ResourceConfig {
  return {
    name,
    providerName: name,
    providerNbd: undefined,
    localPath: `/nonexistent/${name}`,
    remoteAddress: "tcp4://127.0.0.1",
    sourceAddress: undefined,
    replication: "memsync",
    checksum: "none",
    compression: "hole",
    timeoutSeconds: 20,
    execPath: undefined,
    metaflush: true,
    syncRateBytesPerSecond: 0,
    secretPaths: [],
    ...changes,
  };
}

/** What a test sees of the main process. */
export interface MainProcess {
  recorder: Recorder;
  supervisor: Supervisor;
  /** Answers control requests; as a whole, this daemon only says who it is. */
  desk: HastdDesk;
  /** Port on 127.0.0.1; 0 without listener. */
  port: number;
  folder: string;
}

/** How the main process of a test differs from the real one. */
export interface MainProcessOptions {
  handshakeTimeoutMs?: number;
  resolver?: Resolver;
  stopDelays?: { termMs: number; killMs: number };
  halfOpenTimeoutMs?: number;
  /** Also listen on this path in the test's folder. */
  unixName?: string;
}

const NO_DAEMON: DaemonHandle = {
  describe: () => ({
    pid: Deno.pid,
    configPath: "/nonexistent/hast.conf",
    nodeName: "nodea",
    controlAddress: "/nonexistent/ctl",
    pidfilePath: "/nonexistent/pid",
    listenAddresses: ["tcp4://127.0.0.1"],
  }),
  reload: () => Promise.resolve({ error: 70, message: "There is no daemon.", resources: [] }),
  stop: () => {
    throw new Error("There is no daemon.");
  },
};

/** A port that nobody listens on at this moment. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return listener.addr.port;
}

/** Runs a test with the main process serving `resources`; nothing is left afterwards. */
export async function withMainProcess(
  resources: ResourceConfig[],
  test: (main: MainProcess) => Promise<void>,
  options: MainProcessOptions = {},
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "hast-main-" });
  const recorder = new Recorder();
  const supervisor = new Supervisor({
    controlAddress: "",
    pidfilePath: "",
    listenAddresses: [],
    listenDefaulted: false,
    resources,
  }, {
    write: (record) => recorder.write(record),
    hooks: new Hooks(recorder.log, { quiet: true }),
    workerCommand: FAKE_WORKER,
    debugLevel: 1,
    nodeName: undefined,
    runDirectory: `${folder}/run`,
    stopDelays: options.stopDelays,
    halfOpenTimeoutMs: options.halfOpenTimeoutMs,
  });
  const handshakes = new HandshakeServer(
    supervisor,
    new PeerAccess(options.resolver),
    recorder.log,
    options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
  );
  const listener = new Listener(handshakes, recorder.log);
  const port = freePort();
  try {
    await listener.open([`tcp4://127.0.0.1:${port}`], false);
    if (options.unixName !== undefined) {
      await listener.open([`uds://${folder}/${options.unixName}`], false);
    }
    listener.serve();
    const desk = new HastdDesk(supervisor, NO_DAEMON, recorder.log);
    await test({ recorder, supervisor, desk, port, folder });
  } finally {
    listener.close();
    await supervisor.close();
    await Deno.remove(folder, { recursive: true });
  }
}
