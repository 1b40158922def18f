/**
 * A program that serves a file through the NBD front, for clients in tests and for measurements:
 *
 *     deno run -A tests/support/nbd_file_server.ts FILE SOCKET [NAME]
 *
 * It prints `ready` once it listens, and serves until its standard input ends; then it shuts the
 * front down and exits. Its main thread accepts, its data thread is a Web Worker: as a worker of
 * hastd does it.
 * @module
 */
import { Pipe, wake } from "../../ffi/poll.ts";
import { detachSocket } from "../../ffi/socket.ts";
import { RING_WORDS, SHUTDOWN, type Start } from "./nbd_file_protocol.ts";

function print(message: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${message}\n`));
}

async function main(): Promise<void> {
  const [path, socketPath, name = "disk"] = Deno.args;
  if (path === undefined || socketPath === undefined) {
    print("usage: nbd_file_server.ts FILE SOCKET [NAME]");
    Deno.exit(64);
  }
  const ring = new SharedArrayBuffer(4 * RING_WORDS);
  const words = new Int32Array(ring);
  const pipe = new Pipe();
  const tell = (value: number) => {
    const count = Atomics.load(words, 0);
    Atomics.store(words, 1 + count % (RING_WORDS - 1), value);
    Atomics.store(words, 0, count + 1);
    wake(pipe.writeFd);
  };
  const worker = new Worker(new URL("nbd_file_thread.ts", import.meta.url), { type: "module" });
  const start: Start = { path, name, ring, pipeReadFd: pipe.readFd };
  const ended = new Promise<void>((resolve) => worker.onmessage = () => resolve());
  worker.onerror = () => Deno.exit(70);
  worker.postMessage(start);
  const listener = Deno.listen({ transport: "unix", path: socketPath });
  const accepting = acceptAll(listener, tell);
  print("ready");
  while (await Deno.stdin.read(new Uint8Array(64)) !== null);
  listener.close();
  await accepting;
  tell(SHUTDOWN);
  await ended;
  worker.terminate();
}

async function acceptAll(
  listener: Deno.UnixListener,
  tell: (fd: number) => void,
): Promise<void> {
  for await (const conn of listener) tell(detachSocket(conn));
}

await main();
