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
import { announceReady, isBackgroundChild, runInBackground } from "./daemonize.ts";
import { HandshakeServer } from "./handshake_server.ts";
import { Hooks } from "./hooks.ts";
import { Listener } from "./listener.ts";
import { createLog, type DaemonLog } from "./log.ts";
import { nodeIdentity } from "./node_identity.ts";
import { PeerAccess } from "./peer_access.ts";
import { absolutePath, openPidfile } from "./pidfile.ts";
import { RunningDaemon } from "./running_daemon.ts";
import { PROTOCOL_VERSION } from "../protocol/frame.ts";
import { checkSecrets } from "./secret_file.ts";
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
  const pidfile = wantsPidfile ? openPidfile(pidfilePath, log) : undefined;
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
  const daemon = new RunningDaemon({ config, log, supervisor, listener, pidfile }, {
    configPath: args.configPath,
    nodeName: args.nodeName,
    pidfilePath: args.pidfilePath,
    readConfig: () => readConfig(args),
    stop: () => signals.raise("SIGTERM"),
  });
  try {
    await daemon.openControl();
    await listener.open(config.listenAddresses, config.listenDefaulted);
    if (!args.foreground) createLog({ mode: "background", debugLevel: args.debugLevel });
    pidfile?.write(Deno.pid, log);
    if (!args.foreground) announceReady();
    reportStart(daemon);
    void daemon.control.serve();
    listener.serve();
    while (await signals.next() === "SIGHUP") await daemon.reload(undefined);
    log.info("Termination signal received, exiting.");
  } finally {
    await daemon.settle();
    listener.close();
    daemon.closeControl();
    await supervisor.close();
    hooks.close();
    daemon.pidfile?.close();
    daemon.release();
  }
}

function reportStart({ log, control, listener }: RunningDaemon): void {
  log.info(`Started successfully, running protocol version ${PROTOCOL_VERSION}.`);
  log.debug(1, `Listening on control address ${control.address}.`);
  for (const address of listener.addresses) log.info(`Listening on address ${address}.`);
}

function readConfig({ configPath, nodeName }: Arguments): Config {
  const config = loadConfig(configPath, Deno.readTextFileSync, nodeIdentity(nodeName));
  checkSecrets(config);
  return config;
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
