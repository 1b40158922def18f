/**
 * A worker process for tests of the main process: it speaks hastd/worker_channel.ts and does no
 * work. The name of the resource says how it behaves: `exit66`, `exit75` and `abort` end at once,
 * `stubborn` does not end when asked to, `mute` does not answer questions, `noisy` writes what
 * is no message, `apart` refuses as in a split-brain until there is a file at its `local` path,
 * `rich` tells all there is to tell, `broken` has a component that has failed and cannot be brought
 * back, `repaired` one that can; any other works.
 * @module
 */
import { TextLineStream } from "@std/streams";
import { sendBytes } from "../../ffi/socket.ts";
import { encodeFrame } from "../../protocol/frame.ts";
import { Nv } from "../../protocol/nv.ts";
import type {
  FromWorker,
  ToWorker,
  WorkerStart,
  WorkerStatus,
} from "../../hastd/worker_channel.ts";

function write(message: FromWorker): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(message)}\n`));
}

function log({ resource, role }: WorkerStart, message: string): void {
  const prefix = `[${resource.name}] (${role}) `;
  write({ type: "log", record: { level: "info", debugLevel: 0, prefix, message } });
}

function begin(start: WorkerStart): void {
  switch (start.resource.name) {
    case "exit66":
      return Deno.exit(66);
    case "exit75":
      return Deno.exit(75);
    case "abort":
      return Deno.kill(Deno.pid, "SIGABRT");
    case "stubborn":
      Deno.addSignalListener("SIGTERM", () => log(start, "SIGTERM ignored."));
      break;
    case "apart":
      if (!exists(start.resource.localPath)) return refuse(start);
      break;
    case "broken":
      write({ type: "event", event: "localfail", reason: "Input/output error" });
      break;
    case "noisy":
      Deno.stdout.writeSync(new TextEncoder().encode("not json\n"));
      Deno.stderr.writeSync(new TextEncoder().encode("a line of standard error\n"));
      break;
  }
  if (start.peer !== undefined) answerPrimary(start.peer.incomingFd);
  log(start, `Fake worker started with ${start.peer?.resuid ?? "no peer"}.`);
  write({ type: "ready" });
  write({ type: "event", event: "connect" });
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A secondary ends then, a primary goes on trying. */
function refuse(start: WorkerStart): void {
  const message = "Split-brain condition!";
  write({ type: "refused", reason: "split-brain", message });
  write({ type: "event", event: "split-brain" });
  if (start.role === "secondary") return Deno.exit(78);
  write({ type: "ready" });
}

function answerPrimary(fd: number): void {
  const answer = new Nv().addI64("datasize", 4096n).addI32("extentsize", 2097152);
  sendBytes(fd, encodeFrame(2, answer));
}

function figures(): FromWorker & { type: "status" } {
  const status = {
    connected: true,
    dirtyBytes: 2097152,
    extentSizeBytes: 2097152,
    keepdirtyCount: 64,
    reads: 1,
    writes: 2,
    deletes: 3,
    flushes: 4,
    activemapUpdates: 5,
    readErrors: 6,
    writeErrors: 7,
    deleteErrors: 8,
    flushErrors: 9,
    idleQueue: 10,
    localQueue: 11,
    sendQueue: 12,
    recvQueue: 13,
    doneQueue: 14,
  };
  return { type: "status", id: 0, status };
}

/** What only a resource named `rich` tells. */
const RICH: Partial<WorkerStatus> = {
  connection: { state: "connected", sinceMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6) },
  localComponent: { inService: false, errno: 5 },
  staleBytes: 3 * 2 ** 30,
  sync: {
    active: true,
    direction: "to-peer",
    totalBytes: 4 * 2 ** 30,
    copiedBytes: 2 ** 30,
    bytesPerSecond: 50 * 2 ** 20,
    secondsLeft: 61,
  },
  resuid: "18446744073709551615",
  localcnt: "9007199254740993",
  remotecnt: "0",
};

function statusNow({ resource }: WorkerStart, id: number): FromWorker {
  const { status } = figures();
  if (resource.name === "rich") Object.assign(status, RICH);
  if (resource.name === "apart") status.connected = exists(resource.localPath);
  return { type: "status", id, status };
}

function attach(name: string, id: number): FromWorker {
  const wasOutOfService = name === "broken" || name === "repaired";
  return { type: "attached", id, wasOutOfService, errno: name === "broken" ? 5 : 0 };
}

let start: WorkerStart | undefined;
const lines = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
  .pipeThrough(new TextLineStream());
for await (const line of lines) {
  const message: ToWorker = JSON.parse(line);
  switch (message.type) {
    case "start":
      start = message;
      begin(start);
      break;
    case "status":
      if (start === undefined || start.resource.name === "mute") break;
      write(statusNow(start, message.id));
      break;
    case "attach":
      if (start === undefined || start.resource.name === "mute") break;
      write(attach(start.resource.name, message.id));
      break;
    case "reload":
      if (start !== undefined) log(start, `Reloaded, remote ${message.resource.remoteAddress}.`);
      break;
    case "stop":
      if (start?.resource.name === "stubborn") break;
      if (start !== undefined) log(start, "Termination signal received, exiting.");
      Deno.exit(0);
  }
}
