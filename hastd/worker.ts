/**
 * The worker process of a resource: control plane. It listens to its parent, dials (primary),
 * accepts NBD clients (primary) and starts the threads that do the work.
 *
 * Source: replication.md, Roles; control.md; hastd/worker_channel.ts.
 * @module
 */
import { TextLineStream } from "@std/streams";
import { EX, HastError } from "../base/errors.ts";
import { type Log, logTo } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";
import { NBD_PORT_DEFAULT, parseAddress } from "../conf/address.ts";
import type { ResourceConfig } from "../conf/config.ts";
import { type PrimaryHello, SPLIT_BRAIN_MESSAGE } from "../core/sync_decision.ts";
import { mapPages } from "../ffi/memory.ts";
import { Pipe } from "../ffi/poll.ts";
import { setTitle } from "../ffi/process.ts";
import { detachSocket } from "../ffi/socket.ts";
import { CommandSender } from "./command_pipe.ts";
import { Connector, type Established } from "./connector.ts";
import { within } from "./deadline.ts";
import { startDiskThreads } from "./disk_pool.ts";
import { readSecrets } from "./secret_file.ts";
import { sessionLine } from "./session_line.ts";
import { listenUnix } from "./unix_listener.ts";
import type {
  ConnectionStatus,
  FromWorker,
  RefusalReason,
  ToWorker,
  WorkerStart,
} from "./worker_channel.ts";
import type { DataThreadStart, FromDataThread, Geometry } from "./worker_messages.ts";

/** A data thread that has not ended so long after it was told to is left behind. */
const STOP_MS = 6_000;
/** A provider waits so long for the first handshake: a dead peer must not hold up a takeover. */
const FIRST_DIAL_MS = 3_000;

/** Serves as a worker, as the first line of standard input says. Returns the exit code. */
export async function workerMain(): Promise<number> {
  const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream())[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done === true) return EX.ok;
  const start: ToWorker = JSON.parse(first.value);
  if (start.type !== "start") throw new Error("A worker is told to start first");
  const worker = new WorkerMain(start);
  void worker.obey(lines);
  return await worker.ended;
}

function tellParent(message: FromWorker): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
  } catch {
    // The parent has died: the end of standard input says so too, and ends this process.
  }
}

/** One worker, from its start to its end. */
class WorkerMain {
  /** The exit code, once everything has ended. */
  readonly ended: Promise<number>;
  readonly #start: WorkerStart;
  readonly #log: Log;
  readonly #commands: CommandSender;
  readonly #thread: Worker;
  #config: ResourceConfig;
  #connector: Connector | undefined = undefined;
  readonly #listeners: { close(): void }[] = [];
  #helloWaiters: ((hello: PrimaryHello | undefined) => void)[] = [];
  #end: (code: number) => void = () => {};
  #crash: (error: Error) => void = () => {};
  #connection: ConnectionStatus = { state: "connecting", sinceMs: Date.now() };
  #stopping = false;

  constructor(start: WorkerStart) {
    this.#start = start;
    this.#config = start.resource;
    const { name } = start.resource;
    setTitle(`hastd: ${name} (${start.role})`);
    this.#log = logTo((record) => {
      if (record.debugLevel <= start.debugLevel) tellParent({ type: "log", record });
    }, `[${name}] (${start.role}) `);
    this.ended = new Promise((resolve, reject) => {
      this.#end = resolve;
      this.#crash = reject;
    });
    const pipe = new Pipe();
    this.#commands = new CommandSender(pipe.writeFd);
    this.#thread = this.#startThread({ start, commandFd: pipe.readFd });
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => this.#stop());
    }
  }

  #startThread(first: DataThreadStart): Worker {
    const url = new URL("./data_thread.ts", import.meta.url);
    const thread = new Worker(url, { type: "module", name: "data" });
    thread.addEventListener("message", (event) => {
      const message: FromDataThread = event.data;
      this.#handle(message);
    });
    thread.addEventListener("error", (event) => {
      event.preventDefault();
      this.#crash(new Error(`The data thread has died: ${event.message}`));
    });
    thread.postMessage(first);
    return thread;
  }

  // ---- the parent ----

  /** Does what the parent says; its end means that it has died. */
  async obey(lines: AsyncIterator<string>): Promise<void> {
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
      const message: ToWorker = JSON.parse(line.value);
      this.#obey(message);
    }
    this.#stop();
  }

  #obey(message: ToWorker): void {
    switch (message.type) {
      case "status":
      case "attach":
        this.#commands.send(message);
        break;
      case "reload":
        this.#log.info("Reloading configuration...");
        this.#config = message.resource;
        this.#commands.send(message);
        this.#connector?.reconfigured();
        this.#log.info("Configuration reloaded successfully.");
        break;
      case "stop":
        this.#stop();
        break;
      case "start": // Comes once.
        break;
    }
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#log.info("Termination signal received, exiting.");
    this.#closeEntrances();
    this.#commands.send({ type: "stop" });
    setTimeout(() => {
      this.#log.error("Unable to end in time: the component does not answer.");
      this.#end(EX.ok);
    }, STOP_MS);
  }

  // ---- the data thread ----

  #handle(message: FromDataThread): void {
    switch (message.type) {
      case "opened":
        this.#opened(message.geometry).catch((error) => this.#fail(error));
        break;
      case "tell":
        this.#tell(message.message);
        break;
      case "hello":
        for (const answer of this.#helloWaiters.splice(0)) answer(message.hello);
        break;
      case "linkLost":
        if (message.refusal !== undefined) this.#refused(message.refusal);
        this.#connector?.lost(message.redial);
        break;
      case "diskThreads":
        startDiskThreads(message.memory, message.count);
        break;
      case "ended":
        this.#close();
        this.#end(message.code);
        break;
      case "crashed":
        this.#crash(new Error(message.text));
        break;
    }
  }

  /** Passes on what the data thread says, with what only this isolate knows. */
  #tell(message: FromWorker): void {
    if (message.type === "event" && message.event === "connect") this.#note("connected");
    if (message.type === "event" && message.event === "disconnect") this.#note("connecting");
    if (message.type !== "status") return tellParent(message);
    const status = { ...message.status, connection: this.#connection };
    tellParent({ ...message, status });
  }

  /** Keeps account of how this node stands to the other one. */
  #note(state: ConnectionStatus["state"], message?: string, reason?: RefusalReason): void {
    const before = this.#connection;
    const same = before.state === state && before.reason === reason;
    const sinceMs = same ? before.sinceMs : Date.now();
    this.#connection = { state, reason, message, sinceMs };
  }

  #fail(error: unknown): void {
    if (!(error instanceof HastError)) {
      this.#crash(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    this.#log.error(error.message);
    this.#close();
    this.#end(error.exitCode);
  }

  #close(): void {
    this.#stopping = true;
    this.#closeEntrances();
    this.#thread.terminate();
  }

  #closeEntrances(): void {
    this.#connector?.close();
    for (const listener of this.#listeners.splice(0)) listener.close();
  }

  // ---- the primary's provider and its way to the other node ----

  async #opened(geometry: Geometry): Promise<void> {
    if (this.#start.role !== "primary") return;
    const connector = this.#makeConnector(geometry);
    this.#connector = connector;
    await Promise.all([connector.run(), this.#offerAfterDialing(connector)]);
  }

  /** The other node may be ahead, and nothing but the handshake tells: users come after it. */
  async #offerAfterDialing(connector: Connector): Promise<void> {
    await within(connector.attempted, FIRST_DIAL_MS);
    if (this.#stopping) return;
    await this.#offer();
    if (!this.#stopping) tellParent({ type: "ready" });
  }

  #makeConnector(geometry: Geometry): Connector {
    return new Connector({
      config: () => this.#config,
      geometry,
      log: this.#log,
      secrets: readSecrets,
      hello: () =>
        new Promise((resolve) => {
          this.#helloWaiters.push(resolve);
          this.#commands.send({ type: "hello" });
        }),
      established: (established) => this.#established(established),
      refused: (message) => this.#refused(message),
      failed: (message) => this.#note("connecting", message),
    });
  }

  #refused(message: string): void {
    const reason = refusalReason(message);
    this.#note("refused", message, reason);
    tellParent({ type: "refused", reason, message });
    if (reason === "split-brain") tellParent({ type: "event", event: "split-brain" });
  }

  #established(established: Established): void {
    const { hello, answer } = established;
    this.#commands.send({
      type: "established",
      established: {
        requestsFd: established.requestsFd,
        repliesFd: established.repliesFd,
        version: established.version,
        requestBytesMax: answer.requestBytesMax,
        takesClaims: answer.takesClaims,
        remoteAddress: established.remoteAddress,
        hello: {
          virgin: hello.virgin,
          resuid: String(hello.resuid),
          localcnt: String(hello.localcnt),
          remotecnt: String(hello.remotecnt),
        },
        localcnt: String(answer.localcnt),
        remotecnt: String(answer.remotecnt),
        virgin: answer.virgin,
        syncSource: answer.syncSource,
        map: shareMap(answer.map),
        session: established.session && sessionLine(established.session),
        answerRecords: established.answerRecords,
      },
    });
  }

  async #offer(): Promise<void> {
    const { nbdSocketPath } = this.#start;
    await this.#listen(nbdSocketPath);
    const { providerNbd } = this.#config;
    if (providerNbd !== undefined) await this.#listen(providerNbd);
  }

  async #listen(text: string): Promise<void> {
    try {
      const address = parseAddress(text, NBD_PORT_DEFAULT);
      if (address.kind === "unix") {
        const { listener, close } = await listenUnix(address.path);
        this.#listeners.push({ close });
        void this.#accept(listener);
      } else {
        const listener = Deno.listen({ hostname: address.host, port: address.port });
        this.#listeners.push(listener);
        void this.#accept(listener);
      }
    } catch (error) {
      throw new HastError(EX.osErr, `Unable to listen on ${text}: ${systemErrorText(error)}.`);
    }
    this.#log.info(`Device ${this.#config.providerName} offered by NBD on ${text}.`);
  }

  async #accept(listener: Deno.TcpListener | Deno.UnixListener): Promise<void> {
    for (;;) {
      let conn: Deno.TcpConn | Deno.UnixConn;
      try {
        conn = await listener.accept();
      } catch (error) {
        if (this.#stopping) return;
        await this.#afterFailedAccept(error);
        continue;
      }
      this.#handOver(conn);
    }
  }

  #handOver(conn: Deno.TcpConn | Deno.UnixConn): void {
    try {
      this.#commands.send({ type: "client", fd: detachSocket(conn) });
    } catch (error) {
      if (!(error instanceof HastError)) throw error;
      this.#log.warning(`Unable to take an NBD client: ${error.message}`);
      conn.close();
    }
  }

  /** Out of descriptors, for instance: others may close some. */
  async #afterFailedAccept(error: unknown): Promise<void> {
    this.#log.warning(`Unable to accept an NBD client: ${systemErrorText(error)}.`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function refusalReason(message: string): RefusalReason {
  if (message === SPLIT_BRAIN_MESSAGE) return "split-brain";
  return message.startsWith("Resource unique ID mismatch") ? "resuid-mismatch" : "other";
}

/** The map in memory that both threads see; the data thread releases it. */
function shareMap(map: Uint8Array | undefined): { address: string; byteCount: number } | undefined {
  if (map === undefined) return undefined;
  const pages = mapPages(map.length);
  pages.bytes.set(map);
  return { address: String(pages.address), byteCount: map.length };
}
