/**
 * The data thread: the program of the Web Worker that does everything with the component, the
 * connections to the other node and the clients. It opens the component, enters the loop and does
 * not leave it before it is told to, or has nothing left to serve.
 * @module
 */
import { HastError } from "../base/errors.ts";
import { logTo } from "../base/log.ts";
import { Arena } from "../ffi/memory.ts";
import { CommandReader } from "./command_pipe.ts";
import { LocalComponent } from "./local_component.ts";
import { PrimaryRole } from "./primary_role.ts";
import { Reactor } from "./reactor.ts";
import { SecondaryRole } from "./secondary_role.ts";
import { mapLimitsOf, openWorkerComponent } from "./worker_component.ts";
import type { DataThreadStart, FromDataThread } from "./worker_messages.ts";
import type { RoleEnv, WorkerRole } from "./worker_role.ts";

/**
 * Address space for buffers of all kinds; memory is used only where one has been touched. What may
 * be filled is limited by those who take: clients, the synchronisation, the secondary's link.
 */
const ARENA_BYTES = 1024 * 1024 * 1024;

function post(message: FromDataThread): void {
  self.postMessage(message);
}

/** Serves until the end. Returns the exit code of the process. */
function serve({ start, commandFd }: DataThreadStart): number {
  const { name, localPath } = start.resource;
  const log = logTo((record) => {
    if (record.debugLevel <= start.debugLevel) {
      post({ type: "tell", message: { type: "log", record } });
    }
  }, `[${name}] (${start.role}) `);
  try {
    const opened = openWorkerComponent(localPath, name, log);
    const { datasizeBytes, extentsizeBytes } = opened.metadata;
    const mapLimits = mapLimitsOf(opened.metadata);
    post({ type: "opened", geometry: { datasizeBytes, extentsizeBytes, mapLimits } });
    const reactor = new Reactor();
    let exitCode = 0;
    const disk = new LocalComponent(opened.component, {
      reactor,
      startThreads: (memory, count) => post({ type: "diskThreads", memory, count }),
    });
    const role = makeRole({
      start,
      reactor,
      arena: new Arena(ARENA_BYTES),
      disk,
      opened,
      log,
      post,
      tell: (message) => post({ type: "tell", message }),
      end: (code) => {
        exitCode = code;
        reactor.stop();
      },
    });
    new CommandReader(commandFd, reactor, (command) => role.command(command));
    reactor.run();
    disk.close();
    return exitCode;
  } catch (error) {
    if (!(error instanceof HastError)) throw error;
    log.error(error.message);
    return error.exitCode;
  }
}

function makeRole(env: RoleEnv): WorkerRole {
  return env.start.role === "primary" ? new PrimaryRole(env) : new SecondaryRole(env);
}

globalThis.addEventListener("message", (event) => {
  if (!(event instanceof MessageEvent)) return;
  const start: DataThreadStart = event.data;
  try {
    post({ type: "ended", code: serve(start) });
  } catch (error) {
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    post({ type: "crashed", text });
  }
}, { once: true });
