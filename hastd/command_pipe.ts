/**
 * What the main isolate of a worker tells its data thread: one JSON object per line through a
 * pipe, because the thread waits in poll(2) and does not come back to its event loop.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import { POLL } from "../ffi/poll.ts";
import { readPipe, writePipe } from "../ffi/pipe_io.ts";
import type { Pollable, Reactor } from "./reactor.ts";
import type { ToDataThread } from "./worker_messages.ts";

/** What may wait while the thread is busy; it takes everything each turn. */
export const COMMANDS_PENDING_MAX = 4096;
const CHUNK_BYTES = 16 * 1024;
/** How soon a pipe that was full is tried again. */
const RETRY_MS = 5;

/** The main isolate's end. */
export class CommandSender {
  readonly #fd: number;
  #pending: Uint8Array<ArrayBuffer>[] = [];
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(writeFd: number) {
    this.#fd = writeFd;
  }

  /** Hands a command over; in order, sooner or later. */
  send(command: ToDataThread): void {
    invariant(this.#pending.length < COMMANDS_PENDING_MAX, "the data thread takes its commands");
    this.#pending.push(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
    if (this.#retry === undefined) this.#flush();
  }

  #flush(): void {
    this.#retry = undefined;
    for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
      const written = writePipe(this.#fd, first);
      if (written === first.length) {
        this.#pending.shift();
        continue;
      }
      if (written > 0) this.#pending[0] = first.subarray(written);
      else if (written !== -ERRNO.EAGAIN) return; // The thread is gone, and says so elsewhere.
      this.#retry = setTimeout(() => this.#flush(), RETRY_MS);
      return;
    }
  }
}

/** The data thread's end. */
export class CommandReader implements Pollable {
  readonly #fd: number;
  readonly #handle: (command: ToDataThread) => void;
  readonly #chunk = new Uint8Array(CHUNK_BYTES);
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(readFd: number, reactor: Reactor, handle: (command: ToDataThread) => void) {
    this.#fd = readFd;
    this.#handle = handle;
    reactor.register(readFd, POLL.in, this);
  }

  ready(): void {
    for (;;) {
      const got = readPipe(this.#fd, this.#chunk);
      if (got <= 0) return;
      this.#text += this.#decoder.decode(this.#chunk.subarray(0, got), { stream: true });
      this.#handleLines();
      if (got < CHUNK_BYTES) return;
    }
  }

  #handleLines(): void {
    const lines = this.#text.split("\n");
    this.#text = lines.pop() ?? "";
    for (const line of lines) {
      // Written by this very program, in the same process.
      const command: ToDataThread = JSON.parse(line);
      this.#handle(command);
    }
  }
}
