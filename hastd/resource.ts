/**
 * One resource on this node: its role, its worker, and a connection of a primary that has made
 * the first handshake step only. Everything that changes these runs one after the other.
 *
 * Source: replication.md, Roles; wire.md, Handshake.
 * @module
 */
import { EX } from "../base/errors.ts";
import { type Log, type LogRecord, logTo } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";
import type { ResourceConfig } from "../conf/config.ts";
import { planResource, type ReloadAction, type Role } from "../conf/reload.ts";
import { setCloseOnExec } from "../ffi/descriptor.ts";
import { closeSocket, detachSocket } from "../ffi/socket.ts";
import type { HandshakeIdentity } from "../protocol/handshake.ts";
import { Serial } from "./deadline.ts";
import { type FirstStep, HALF_OPEN_TIMEOUT_MS, HalfOpen, HalfOpens } from "./half_open.ts";
import { ConnectionMemory } from "./connection_memory.ts";
import type { Hooks } from "./hooks.ts";
import type { PeerConnection } from "./peer_connection.ts";
import { sessionLine } from "./session_line.ts";
import type { ConnectionReply } from "../protocol/control_extension.ts";
import type { HookEvent, PeerHello, WorkerStart, WorkerStatus } from "./worker_channel.ts";
import {
  type StopDelays,
  type WorkerCommand,
  type WorkerExit,
  WorkerProcess,
} from "./worker_process.ts";

/** A script that goes on after `hastctl role primary` finds the provider: waited for so long. */
export const PROVIDER_WAIT_MS = 5_000;
/** A primary's worker that died is started again after this long; doubled in a crash loop. */
export const RESTART_DELAY_MIN_MS = 1_000;
export const RESTART_DELAY_MAX_MS = 30_000;
/** A worker that has lived for so long is not part of a crash loop. */
export const WORKER_STABLE_MS = 60_000;

/** What became of {@link Resource.attach}. */
export type AttachResult = { wasOutOfService: boolean; errno: number } | "unavailable";

/** What all resources of a daemon share. */
export interface ResourceContext {
  write(record: LogRecord): void;
  hooks: Hooks;
  workerCommand: WorkerCommand;
  debugLevel: number;
  nodeName: string | undefined;
  /** Folder of the NBD sockets. */
  runDirectory: string;
  /** These two are for tests. */
  stopDelays?: StopDelays;
  halfOpenTimeoutMs?: number;
}

/** A resource of the configuration, in whatever role. */
export class Resource {
  #config: ResourceConfig;
  #role: Role = "init";
  #worker: WorkerProcess | undefined;
  readonly #halfOpens = new HalfOpens();
  #restart: ReturnType<typeof setTimeout> | undefined;
  #restartDelayMs = RESTART_DELAY_MIN_MS;
  #closed = false;
  readonly #connection = new ConnectionMemory();
  readonly #serial = new Serial();
  readonly #context: ResourceContext;

  constructor(config: ResourceConfig, context: ResourceContext) {
    this.#config = config;
    this.#context = context;
  }

  get config(): ResourceConfig {
    return this.#config;
  }

  get name(): string {
    return this.#config.name;
  }

  get role(): Role {
    return this.#role;
  }

  /** 0 where no worker runs. */
  get workerPid(): number {
    return this.#worker?.pid ?? 0;
  }

  /** Log lines about this resource in its present role. */
  log(): Log {
    return logTo(this.#context.write, `[${this.name}] (${this.#role}) `);
  }

  /** The figures of the worker; undefined where none runs or it does not answer in time. */
  async status(): Promise<WorkerStatus | undefined> {
    return await this.#worker?.status();
  }

  /** How this resource stands to the other node, by what its worker has just said and before. */
  connection(status: WorkerStatus | undefined): ConnectionReply {
    return this.#connection.view(this.#role, status);
  }

  /** Brings a local component that was taken out of service back, if there is one. */
  async attach(): Promise<AttachResult> {
    return await this.#worker?.attach() ?? "unavailable";
  }

  /**
   * Changes the role. Settles when the worker of the old role has really ended; a primary's
   * worker has then been started, not more.
   *
   * @returns The role before.
   */
  setRole(role: Role, reason: "control" | "reload"): Promise<Role> {
    return this.#serial.run(() => this.#changeRole(role, reason));
  }

  async #changeRole(role: Role, reason: "control" | "reload"): Promise<Role> {
    const previous = this.#role;
    if (previous === role || this.#closed) return previous;
    this.log().info(`Role changed to ${role}.`);
    this.#role = role;
    this.#connection.roleChanged();
    this.#forgetRestart();
    this.#restartDelayMs = RESTART_DELAY_MIN_MS;
    this.#halfOpens.dropAll();
    await this.#stopWorker((pid, exit) => {
      if (exit.code === 0) this.log().debug(1, `Worker process ${pid} stopped.`);
      else this.#logExit(pid, exit);
    });
    if (role === "primary") this.#startPrimary();
    this.#context.hooks.run({
      ...this.#hookCall(reason),
      args: ["role", this.name, previous, role],
    });
    if (role === "primary") await this.#worker?.settled(PROVIDER_WAIT_MS);
    return previous;
  }

  /**
   * Takes over its section of a new configuration, by way of the role init where it has to be;
   * settles in the old role.
   *
   * @returns What was done.
   */
  takeOver(config: ResourceConfig): Promise<ReloadAction> {
    return this.#serial.run(async () => {
      const role = this.#role;
      const action = planResource({ config: this.#config, role }, config).action;
      if (action === "nothing") {
        // A primary without its peer dials at once: the administrator may have repaired something.
        if (role === "primary") this.#worker?.reload(config);
        return action;
      }
      const doing = action === "restart" ? "restarting" : "reloading";
      logTo(this.#context.write).info(
        `Resource ${this.name} configuration was modified, ${doing} it.`,
      );
      if (action === "restart") await this.#changeRole("init", "reload");
      this.#config = config;
      if (action === "restart") await this.#changeRole(role, "reload");
      else if (role === "primary") this.#worker?.reload(config);
      return action;
    });
  }

  /**
   * First handshake step, after its checks: keeps this connection for {@link secondStep}. Without
   * authentication it replaces whatever connection there was. Closes `connection` where that is not
   * possible.
   *
   * @param step What the peer speaks, what was made of it, and whether it has to prove something.
   * @param answer Sends the answer with the token; false if the peer did not take it.
   */
  firstStep(
    connection: PeerConnection,
    { offered, version, authentication }: { offered: number } & Omit<FirstStep, "token">,
    answer: (token: Uint8Array<ArrayBuffer>) => Promise<boolean>,
  ): Promise<void> {
    return this.#serial.run(async () => {
      if (this.#role !== "secondary" || this.#closed) return connection.close();
      // Who has to prove himself replaces nobody before he has.
      if (authentication === undefined) await this.#replaceConnection(connection.peer);
      if (offered > version) {
        this.log().info(
          `Remote protocol version ${offered} is not supported, ` +
            `falling back to version ${version}.`,
        );
      }
      this.log().debug(1, `Negotiated protocol version ${version}.`);
      const token = HalfOpen.newToken();
      const timeoutMs = this.#context.halfOpenTimeoutMs ?? HALF_OPEN_TIMEOUT_MS;
      const expire = (late: HalfOpen) => this.#expireHalfOpen(late, timeoutMs);
      const step = { version, token, authentication };
      const halfOpen = new HalfOpen(connection, step, { timeoutMs, expire });
      // In place before the peer has its token: connection 2 may be faster than this function.
      const displaced = this.#halfOpens.add(halfOpen);
      if (displaced !== undefined) this.#logCancel(displaced, connection.peer);
      if (!await answer(token)) return void this.#halfOpens.drop(halfOpen);
      this.log().debug(1, `Incoming connection from ${connection.peer} configured.`);
    });
  }

  /** The half-open connection that was given this token, found in constant time. */
  halfOpen(token: Uint8Array): HalfOpen | undefined {
    return this.#halfOpens.find(token);
  }

  /**
   * Second handshake step, after its checks: hands both connections to a new worker, which answers
   * the primary. With authentication, this replaces whatever connection there was.
   *
   * @returns False where the half-open connection is gone meanwhile; `outgoing` is then untouched.
   */
  secondStep(
    outgoing: PeerConnection,
    halfOpen: HalfOpen,
    identity: HandshakeIdentity,
  ): Promise<boolean> {
    return this.#serial.run(async () => {
      if (this.#closed || !this.#halfOpens.take(halfOpen)) return false;
      if (halfOpen.authentication !== undefined) await this.#replaceConnection(outgoing.peer);
      this.log().debug(1, `Outgoing connection to ${outgoing.peer} configured.`);
      this.#startSecondary(halfOpen, outgoing, identity);
      return true;
    });
  }

  /** Ends everything for good, as when the daemon stops; the role stays what it is. */
  close(): Promise<void> {
    this.#closed = true;
    return this.#serial.run(async () => {
      this.#forgetRestart();
      this.#halfOpens.dropAll();
      await this.#stopWorker((pid, exit) => {
        if (exit.code !== 0) this.#logExit(pid, exit);
      });
    });
  }

  async #replaceConnection(newPeer: string): Promise<void> {
    this.log().debug(1, `Initial connection from ${newPeer}.`);
    if (this.#worker !== undefined) {
      this.log().debug(1, `Worker process exists (pid=${this.#worker.pid}), stopping it.`);
      await this.#stopWorker((pid, exit) => this.#logExit(pid, exit));
    }
    for (const halfOpen of this.#halfOpens.dropAll()) this.#logCancel(halfOpen, newPeer);
  }

  #logCancel({ connection }: HalfOpen, newPeer: string): void {
    this.log().debug(
      1,
      `Canceling half-open connection from ${connection.peer} on connection from ${newPeer}.`,
    );
  }

  #expireHalfOpen(halfOpen: HalfOpen, timeoutMs: number): void {
    if (!this.#halfOpens.drop(halfOpen)) return;
    const { peer } = halfOpen.connection;
    const seconds = timeoutMs / 1000;
    this.log().debug(
      1,
      `Canceling half-open connection from ${peer}: no second one within ${seconds}s.`,
    );
  }

  async #stopWorker(report: (pid: number, exit: WorkerExit) => void): Promise<void> {
    const worker = this.#worker;
    if (worker === undefined) return;
    this.#worker = undefined; // Its end is reported here and by nobody else.
    report(worker.pid, await worker.stop(this.#context.stopDelays));
  }

  #startPrimary(): void {
    try {
      Deno.mkdirSync(this.#context.runDirectory, { recursive: true });
      this.#spawn(this.#workerStart("primary"));
    } catch (error) {
      this.log().error(`Unable to start worker process: ${systemErrorText(error)}.`);
      this.#scheduleRestart();
    }
  }

  #startSecondary(
    halfOpen: HalfOpen,
    outgoing: PeerConnection,
    identity: HandshakeIdentity,
  ): void {
    const fds: number[] = [];
    try {
      for (const each of [halfOpen.connection, outgoing]) fds.push(detachSocket(each.release()));
      for (const fd of fds) setCloseOnExec(fd, false);
      const peer = peerHello(fds, halfOpen, outgoing, identity);
      this.#spawn({ ...this.#workerStart("secondary"), peer });
    } catch (error) {
      this.log().error(`Unable to start worker process: ${systemErrorText(error)}.`);
      halfOpen.connection.close();
      outgoing.close();
    } finally {
      for (const fd of fds) closeSocket(fd);
    }
  }

  #workerStart(role: WorkerStart["role"]): WorkerStart {
    return {
      type: "start",
      role,
      resource: this.#config,
      debugLevel: this.#context.debugLevel,
      nodeName: this.#context.nodeName,
      nbdSocketPath: `${this.#context.runDirectory}/${this.name}.sock`,
    };
  }

  #spawn(start: WorkerStart): void {
    const log = this.log();
    const startedMs = performance.now();
    const worker = new WorkerProcess(this.#context.workerCommand, start, {
      ready: () => {
        // A secondary is ready when its handshake is over.
        if (start.role === "secondary") this.#connection.connected();
        log.debug(2, "Worker process is ready.");
      },
      log: (record) => this.#context.write(record),
      event: (event, reason) => this.#event(event, reason, log),
      refused: (reason, message) => this.#connection.refused(reason, message, Date.now()),
      complaint: (line) => log.error(line),
    });
    this.#worker = worker;
    void worker.ended.then((exit) =>
      this.#serial.run(() => {
        if (this.#worker === worker) this.#workerDied(worker, exit, performance.now() - startedMs);
        return Promise.resolve();
      })
    );
  }

  #event(event: HookEvent, reason: string | undefined, log: Log): void {
    if (event === "connect") this.#connection.connected();
    if (event === "split-brain") this.#connection.refused(event, reason, Date.now());
    const call = this.#hookCall(reason ?? "worker");
    this.#context.hooks.run({ ...call, args: [event, this.name] }, log);
  }

  #workerDied(worker: WorkerProcess, exit: WorkerExit, livedMs: number): void {
    this.#worker = undefined;
    this.#logExit(worker.pid, exit);
    if (this.#role !== "primary" || this.#closed) return;
    if (exit.signal !== undefined || exit.code === EX.tempFail) {
      if (livedMs >= WORKER_STABLE_MS) this.#restartDelayMs = RESTART_DELAY_MIN_MS;
      this.#scheduleRestart();
    } else {
      this.log().info("Changing resource role back to init.");
      this.#role = "init";
    }
  }

  #scheduleRestart(): void {
    this.#restart = setTimeout(() => {
      void this.#serial.run(() => {
        if (this.#restart === undefined) return Promise.resolve();
        this.#restart = undefined;
        this.log().info("Restarting worker process.");
        this.#startPrimary();
        return Promise.resolve();
      });
    }, this.#restartDelayMs);
    this.#restartDelayMs = Math.min(this.#restartDelayMs * 2, RESTART_DELAY_MAX_MS);
  }

  #forgetRestart(): void {
    clearTimeout(this.#restart);
    this.#restart = undefined;
  }

  #logExit(pid: number, exit: WorkerExit): void {
    if (exit.signal !== undefined) {
      this.log().error(`Worker process killed (pid=${pid}, signal=${exit.signal}).`);
    } else if (exit.code === 0) {
      this.log().debug(1, `Worker process exited gracefully (pid=${pid}).`);
    } else {
      this.log().error(`Worker process exited ungracefully (pid=${pid}, exitcode=${exit.code}).`);
    }
  }

  #hookCall(reason: string): Parameters<Hooks["run"]>[0] {
    return {
      execPath: this.#config.execPath,
      args: [],
      resourceName: this.name,
      role: this.#role,
      peer: this.#config.remoteAddress,
      reason,
    };
  }
}

function peerHello(
  fds: readonly number[],
  halfOpen: HalfOpen,
  outgoing: PeerConnection,
  identity: HandshakeIdentity,
): PeerHello {
  const [incomingFd = -1, outgoingFd = -1] = fds;
  return {
    incomingFd,
    outgoingFd,
    incomingPeer: halfOpen.connection.peer,
    outgoingPeer: outgoing.peer,
    protocolVersion: halfOpen.version,
    virgin: identity.virgin,
    resuid: String(identity.resuid),
    localcnt: String(identity.localcnt),
    remotecnt: String(identity.remotecnt),
    requestBytesMax: identity.requestBytesMax,
    session: halfOpen.authentication && sessionLine(halfOpen.authentication.session()),
  };
}
