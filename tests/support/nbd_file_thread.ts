/**
 * The data thread of `nbd_file_server.ts`.
 * @module
 */
import type { Log } from "../../base/log.ts";
import { libc } from "../../ffi/libc.ts";
import { Arena } from "../../ffi/memory.ts";
import { POLL } from "../../ffi/poll.ts";
import { FrontNbd } from "../../hastd/front_nbd.ts";
import { Reactor } from "../../hastd/reactor.ts";
import { FileTarget } from "./file_target.ts";
import { RING_WORDS, SHUTDOWN, type Start } from "./nbd_file_protocol.ts";

const ARENA_BYTES = 512 * 1024 * 1024;

function isStart(data: unknown): data is Start {
  return typeof data === "object" && data !== null && "pipeReadFd" in data;
}

const log: Log = { error: print, warning: print, info: print, debug: () => {} };

function print(message: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${message}\n`));
}

/** The data thread. */
function serve({ path, name, ring, pipeReadFd }: Start): void {
  const words = new Int32Array(ring);
  const reactor = new Reactor();
  const buffers = new Arena(ARENA_BYTES);
  using target = new FileTarget(path, buffers);
  const description = `The file ${path}`;
  const front = new FrontNbd({ name, description, target, reactor, buffers, log });
  const drained = new Uint8Array(512);
  let readCount = 0;
  reactor.setBatchWork(target);
  reactor.register(pipeReadFd, POLL.in, {
    ready: () => {
      drainPipe(pipeReadFd, drained);
      for (; readCount !== Atomics.load(words, 0); readCount++) {
        const told = Atomics.load(words, 1 + readCount % (RING_WORDS - 1));
        if (told === SHUTDOWN) front.shutdown(() => reactor.stop());
        else front.addConnection(told);
      }
    },
  });
  reactor.run();
}

function drainPipe(fd: number, into: Uint8Array<ArrayBuffer>): void {
  // One read takes all that can be there between two turns: at most RING_WORDS wakes.
  libc().read(fd, into, into.length);
}

self.onmessage = (event: MessageEvent<unknown>) => {
  if (!isStart(event.data)) return;
  serve(event.data);
  self.postMessage("ended");
};
