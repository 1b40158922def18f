/**
 * The `exec` program of a resource: run at events, never waited for.
 *
 * Started without a shell as `PATH EVENT NAME [OLD NEW]`. The environment is hastd's own plus
 * HAST_RESOURCE, HAST_ROLE, HAST_PEER (the `remote` address) and HAST_REASON.
 *
 * Source: hast.conf(5), exec; control.md, Hooks.
 * @module
 */
import type { Log } from "../base/log.ts";
import { systemErrorText } from "../base/system_error.ts";

/** A hook that has run for this long is reported, and again after each such time. */
export const HOOK_REPORT_INTERVAL_MS = 60_000;
/** So many hooks may run at once: one that hangs must not fill the process table. */
export const HOOKS_RUNNING_MAX = 256;

/** Longest HAST_REASON, in UTF-16 units: some are words of the other node. */
export const HOOK_REASON_LENGTH_MAX = 256;

/** One call of the hook program. */
export interface HookCall {
  /** `exec` of the resource; nothing is run when it is undefined. */
  execPath: string | undefined;
  /** The event and its arguments: `["role", "data", "init", "primary"]`. */
  args: string[];
  resourceName: string;
  role: string;
  peer: string;
  /**
   * `control`: hastctl asked; `reload`: the configuration changed; `worker` or more precise words:
   * the data path saw it.
   */
  reason: string;
}

/** Where hooks write, and how soon a slow one is reported. */
export interface HooksOptions {
  /** True in background mode: standard output and error go to /dev/null too. */
  quiet: boolean;
  reportIntervalMs?: number;
}

/** Starts hooks and reports how they end. */
export class Hooks {
  readonly #log: Log;
  readonly #quiet: boolean;
  readonly #reportIntervalMs: number;
  readonly #timers = new Set<ReturnType<typeof setInterval>>();
  #running = 0;

  constructor(log: Log, options: HooksOptions) {
    this.#log = log;
    this.#quiet = options.quiet;
    this.#reportIntervalMs = options.reportIntervalMs ?? HOOK_REPORT_INTERVAL_MS;
  }

  /** Starts a hook; `log` names who runs it. Trouble is logged, nothing is thrown. */
  run(call: HookCall, log: Log = this.#log): void {
    if (call.execPath === undefined) return;
    const commandLine = [call.execPath, ...call.args].join(" ");
    if (this.#running >= HOOKS_RUNNING_MAX) {
      log.error(`Unable to execute ${commandLine}: ${this.#running} hooks are running.`);
      return;
    }
    log.debug(1, `Executing hook: ${commandLine}`);
    let child: Deno.ChildProcess;
    try {
      child = this.#spawn(call, call.execPath);
    } catch (error) {
      log.error(`Unable to execute ${call.execPath}: ${systemErrorText(error)}.`);
      return;
    }
    this.#watch(child, commandLine);
  }

  /** Forgets the hooks that still run: their reports must not keep the program alive. */
  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers.clear();
  }

  #spawn(call: HookCall, execPath: string): Deno.ChildProcess {
    // execve(2) takes a name without a slash as a file here; Deno.Command would search PATH.
    const path = execPath.includes("/") ? execPath : `./${execPath}`;
    const output = this.#quiet ? "null" : "inherit";
    return new Deno.Command(path, {
      args: call.args,
      stdin: "null",
      stdout: output,
      stderr: output,
      env: {
        HAST_RESOURCE: call.resourceName,
        HAST_ROLE: call.role,
        HAST_PEER: call.peer,
        HAST_REASON: reasonText(call.reason),
      },
    }).spawn();
  }

  #watch(child: Deno.ChildProcess, commandLine: string): void {
    const startedMs = performance.now();
    const about = `pid=${child.pid}`;
    const command = `cmd=[${commandLine}]`;
    const timer = setInterval(() => {
      const seconds = Math.round((performance.now() - startedMs) / 1000);
      this.#log.warning(`Hook is running for ${seconds} seconds (${about}, ${command}).`);
    }, this.#reportIntervalMs);
    this.#timers.add(timer);
    this.#running++;
    child.unref();
    void child.status.then((status) => {
      clearInterval(timer);
      this.#timers.delete(timer);
      this.#running--;
      if (status.success) {
        this.#log.debug(1, `Hook exited gracefully (${about}, ${command}).`);
      } else if (status.signal !== null) {
        const signal = status.code - 128;
        this.#log.error(`Hook was killed (${about}, signal=${signal}, ${command}).`);
      } else {
        this.#log.error(
          `Hook exited ungracefully (${about}, exitcode=${status.code}, ${command}).`,
        );
      }
    });
  }
}

/** One line that an environment can hold. */
function reasonText(reason: string): string {
  // deno-lint-ignore no-control-regex -- NUL ends the variable, a new line fools scripts.
  return reason.slice(0, HOOK_REASON_LENGTH_MAX).replaceAll(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
