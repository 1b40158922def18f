/**
 * A daemon that serves: what hastctl and signals may do to it as a whole.
 *
 * Source: control.md, Signals, Control socket.
 * @module
 */
import { EX, HastError, invariant } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Config } from "../conf/config.ts";
import type { DaemonReply } from "../protocol/control_extension.ts";
import type { ControlReply, ReloadReply } from "../protocol/control_reply.ts";
import { type DaemonHandle, HastdDesk } from "./control_desk.ts";
import { type ControlDesk, ControlServer } from "./control_server.ts";
import { Serial } from "./deadline.ts";
import type { Listener } from "./listener.ts";
import { absolutePath, openPidfile, type Pidfile } from "./pidfile.ts";
import { type Reloadable, takeOver } from "./reload.ts";
import type { Supervisor } from "./supervisor.ts";

/** What a daemon consists of when it starts. */
export interface DaemonParts {
  config: Config;
  log: Log;
  supervisor: Supervisor;
  listener: Listener;
  /** Undefined where none was wanted or to be had. */
  pidfile: Pidfile | undefined;
}

/** How it was started. */
export interface DaemonOrigin {
  /** Absolute. */
  configPath: string;
  /** Argument of `-n`. */
  nodeName: string | undefined;
  /** Argument of `-P`, which wins over every configuration. */
  pidfilePath: string | undefined;
  /** Throws a HastError where the configuration will not do. */
  readConfig(): Config;
  /** Begins to end the program. */
  stop(): void;
}

/** A running daemon. */
export class RunningDaemon implements DaemonHandle, Reloadable {
  config: Config;
  pidfile: Pidfile | undefined;
  readonly log: Log;
  readonly supervisor: Supervisor;
  readonly listener: Listener;
  readonly desk: ControlDesk;
  readonly #origin: DaemonOrigin;
  readonly #reloads = new Serial();
  #control: ControlServer | undefined;
  #ending = false;

  constructor(parts: DaemonParts, origin: DaemonOrigin) {
    this.config = parts.config;
    this.log = parts.log;
    this.supervisor = parts.supervisor;
    this.listener = parts.listener;
    this.pidfile = parts.pidfile;
    this.desk = new HastdDesk(parts.supervisor, this, parts.log);
    this.#origin = origin;
  }

  get control(): ControlServer {
    invariant(this.#control !== undefined, "the control socket is open");
    return this.#control;
  }

  set control(control: ControlServer) {
    this.#control = control;
  }

  /**
   * Opens the control socket; nobody is served yet.
   *
   * @throws {HastError} Exit code 71: the socket cannot be opened.
   */
  async openControl(): Promise<void> {
    this.#control = await ControlServer.open(this.config.controlAddress, this.desk, this.log);
  }

  describe(): DaemonReply {
    const { controlAddress, pidfilePath } = this.config;
    return {
      pid: Deno.pid,
      configPath: this.#origin.configPath,
      nodeName: this.#origin.nodeName,
      controlAddress,
      pidfilePath: this.pidfile?.path ?? pidfilePath,
      listenAddresses: this.listener.addresses,
    };
  }

  stop(): void {
    this.#origin.stop();
  }

  /**
   * Reads the configuration again. Success and failure are logged; reloads that come together are
   * done one after the other.
   *
   * @param checkedPath The file that whoever asks has checked; it must be the one that is read.
   * @returns What was done, or `error` (an exit code) and `message`: then nothing has changed.
   */
  reload(checkedPath: string | undefined): Promise<ControlReply<ReloadReply>> {
    return this.#reloads.run(async () => {
      this.log.info("Reloading configuration...");
      try {
        const resources = await this.#reload(checkedPath);
        this.log.info("Configuration reloaded successfully.");
        return { error: 0, resources };
      } catch (error) {
        if (!(error instanceof HastError)) throw error;
        this.log.error(error.message);
        this.log.warning("Configuration not reloaded.");
        return { error: error.exitCode, message: error.message, resources: [] };
      }
    });
  }

  /** Waits for the reload that is under way; none begins any more. */
  async settle(): Promise<void> {
    this.#ending = true;
    await this.#reloads.run(() => Promise.resolve());
  }

  /** Serves no client any more but those that wait for the end. */
  closeControl(): void {
    this.#control?.close();
  }

  /** The very last: tells those that wait. */
  release(): void {
    this.#control?.release();
  }

  async #reload(checkedPath: string | undefined): Promise<ReloadReply[]> {
    if (this.#ending) throw new HastError(EX.unavailable, "hastd is about to end.");
    const { configPath } = this.#origin;
    if (checkedPath !== undefined && !isSameFile(checkedPath, configPath)) {
      throw new HastError(EX.usage, `hastd reads ${configPath}, not ${checkedPath}.`);
    }
    const next = this.#origin.readConfig();
    const other = this.#openOtherPidfile(next);
    let replies: ReloadReply[];
    try {
      replies = await takeOver(this, next);
    } catch (error) {
      other?.close();
      throw error;
    }
    if (other !== undefined) {
      other.write(Deno.pid, this.log);
      this.pidfile?.close();
      this.pidfile = other;
    }
    return replies;
  }

  #openOtherPidfile(next: Config): Pidfile | undefined {
    if (this.#origin.pidfilePath !== undefined || this.pidfile === undefined) return undefined;
    const path = absolutePath(next.pidfilePath);
    return path === this.pidfile.path ? undefined : openPidfile(path, this.log);
  }
}

function isSameFile(left: string, right: string): boolean {
  return left === right || realPath(left) === realPath(right);
}

function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return path; // It is gone: reading it tells.
  }
}
