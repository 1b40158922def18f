/**
 * The main process of hastd: starts in the original's order, serves hastctl and other nodes,
 * watches over the workers, and leaves nothing behind when it ends.
 *
 * Source: control.md, hastd; hastd(8).
 * @module
 */
import { ConfigError, EX, HastError } from "../base/errors.ts";
import { systemErrorText } from "../base/system_error.ts";
import type { Config } from "../conf/config.ts";
import { loadConfig } from "../conf/load.ts";
import { type Arguments, HELP, parseArguments } from "./arguments.ts";
import { ControlServer } from "./control_server.ts";
import { announceReady, isBackgroundChild, runInBackground } from "./daemonize.ts";
import { HandshakeServer } from "./handshake_server.ts";
import { Hooks } from "./hooks.ts";
import { Listener } from "./listener.ts";
import { createLog, type DaemonLog } from "./log.ts";
import { nodeIdentity } from "./node_identity.ts";
import { PeerAccess } from "./peer_access.ts";
import { openPidfile, type Pidfile } from "./pidfile.ts";
import { type Reloadable, takeOver } from "./reload.ts";
import { PROTOCOL_VERSION } from "../protocol/frame.ts";
import { selfCommand } from "./self_command.ts";
import { Signals } from "./signals.ts";
import { Supervisor } from "./supervisor.ts";
import type { WorkerCommand } from "./worker_process.ts";

/** Folder of the NBD sockets, unless HAST_RUNDIR names another. */
const RUN_DIRECTORY_DEFAULT = "/var/run/hast";

/** What tests replace. */
export interface HastdOptions {
  /** The program that is a worker; by default this one. */
  workerCommand?: WorkerCommand;
}

/**
 * Runs hastd until a signal ends it. Never ends the process.
 *
 * @returns The exit code, see `base/errors.ts`.
 */
export async function hastdMain(
  args: readonly string[],
  options: HastdOptions = {},
): Promise<number> {
  const parsed = parseArguments(args);
  if (parsed === "help") {
    Deno.stdout.writeSync(new TextEncoder().encode(HELP));
    return EX.ok;
  }
  if ("usage" in parsed) {
    Deno.stderr.writeSync(new TextEncoder().encode(parsed.usage));
    return EX.usage;
  }
  const background = !parsed.foreground;
  if (background && !isBackgroundChild()) return await runInBackground(Deno.args);
  const output = createLog({ mode: "foreground", debugLevel: parsed.debugLevel });
  const signals = new Signals();
  try {
    await runDaemon(
      { ...parsed, configPath: fullPath(parsed.configPath) },
      signals,
      output,
      options,
    );
    return EX.ok;
  } catch (error) {
    if (!(error instanceof HastError)) throw error;
    output.log.error(error.message);
    return error.exitCode;
  } finally {
    signals.close();
  }
}

async function runDaemon(
  args: Arguments,
  signals: Signals,
  output: DaemonLog,
  options: HastdOptions,
): Promise<void> {
  const { log } = output;
  const config = readConfig(args);
  const pidfilePath = absolutePath(args.pidfilePath ?? config.pidfilePath);
  const wantsPidfile = args.pidfilePath !== undefined || !args.foreground;
  let pidfile = wantsPidfile ? openPidfile(pidfilePath, log) : undefined;
  const hooks = new Hooks(log, { quiet: !args.foreground });
  const supervisor = new Supervisor(config, {
    write: output.write,
    hooks,
    workerCommand: options.workerCommand ?? selfCommand(["worker"]),
    debugLevel: args.debugLevel,
    nodeName: args.nodeName,
    runDirectory: runDirectory(),
  });
  const listener = new Listener(new HandshakeServer(supervisor, new PeerAccess(), log), log);
  let daemon: Reloadable | undefined;
  try {
    const control = await ControlServer.open(config.controlAddress, supervisor, log);
    daemon = { config, log, supervisor, listener, control };
    await listener.open(config.listenAddresses, config.listenDefaulted);
    if (!args.foreground) createLog({ mode: "background", debugLevel: args.debugLevel });
    pidfile?.write(Deno.pid, log);
    if (!args.foreground) announceReady();
    reportStart(daemon);
    void control.serve();
    listener.serve();
    while (await signals.next() === "SIGHUP") pidfile = await reload(daemon, args, pidfile);
    log.info("Termination signal received, exiting.");
  } finally {
    listener.close();
    daemon?.control.close();
    await supervisor.close();
    hooks.close();
    pidfile?.close();
  }
}

function reportStart({ log, control, listener }: Reloadable): void {
  log.info(`Started successfully, running protocol version ${PROTOCOL_VERSION}.`);
  log.debug(1, `Listening on control address ${control.address}.`);
  for (const address of listener.addresses) log.info(`Listening on address ${address}.`);
}

/** Reads the configuration again. Returns the pidfile that is held afterwards. */
async function reload(
  daemon: Reloadable,
  args: Arguments,
  pidfile: Pidfile | undefined,
): Promise<Pidfile | undefined> {
  const { log } = daemon;
  log.info("Reloading configuration...");
  let other: Pidfile | undefined;
  try {
    const next = readConfig(args);
    const path = args.pidfilePath === undefined ? absolutePath(next.pidfilePath) : undefined;
    if (path !== undefined && pidfile !== undefined && path !== pidfile.path) {
      other = openPidfile(path, log);
    }
    await takeOver(daemon, next);
  } catch (error) {
    other?.close();
    if (!(error instanceof HastError)) throw error;
    log.error(error.message);
    log.warning("Configuration not reloaded.");
    return pidfile;
  }
  log.info("Configuration reloaded successfully.");
  if (other === undefined) return pidfile;
  other.write(Deno.pid, log);
  pidfile?.close();
  return other;
}

function readConfig({ configPath, nodeName }: Arguments): Config {
  return loadConfig(configPath, Deno.readTextFileSync, nodeIdentity(nodeName));
}

/** The background mode changes the directory, and SIGHUP has to find the file then. */
function fullPath(configPath: string): string {
  if (configPath.startsWith("/")) return configPath;
  try {
    return Deno.realPathSync(configPath);
  } catch (error) {
    throw new ConfigError(
      `Unable to obtain full path of ${configPath}: ${systemErrorText(error)}.`,
    );
  }
}

function runDirectory(): string {
  return absolutePath(Deno.env.get("HAST_RUNDIR") || RUN_DIRECTORY_DEFAULT);
}

/** A path that still means the same when the background mode has changed the directory. */
function absolutePath(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}
