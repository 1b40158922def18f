/**
 * A worker process for tests of the main process: it speaks hastd/worker_channel.ts and does no
 * work. The name of the resource says how it behaves: `exit66`, `exit75` and `abort` end at once,
 * `stubborn` does not end when asked to, `mute` does not tell its status, `noisy` writes what
 * is no message; any other works.
 * @module
 */
import { TextLineStream } from "@std/streams";
import { sendBytes } from "../../ffi/socket.ts";
import { encodeFrame } from "../../protocol/frame.ts";
import { Nv } from "../../protocol/nv.ts";
import type { FromWorker, ToWorker, WorkerStart } from "../../hastd/worker_channel.ts";

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
      if (start?.resource.name !== "mute") write({ ...figures(), id: message.id });
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
