/**
 * One end of a connection in a loop of our own, the other end in the hands of the test, which
 * speaks frames.
 * @module
 */
import { Reactor } from "../../hastd/reactor.ts";
import { ERRNO } from "../../base/errno.ts";
import type { Log } from "../../base/log.ts";
import { Arena } from "../../ffi/memory.ts";
import { closeSocket, recvBytes, sendBytes } from "../../ffi/socket.ts";
import { encodeFrame, type Frame, FrameReader } from "../../protocol/frame.ts";
import type { Nv } from "../../protocol/nv.ts";

const DEADLINE_MS = 5000;

/** A loop, memory, and a log that remembers. */
export class LoopRig {
  readonly reactor = new Reactor();
  readonly arena = new Arena(256 * 1024 * 1024);
  readonly logged: string[] = [];
  readonly log: Log = {
    error: (message) => this.logged.push(`error: ${message}`),
    warning: (message) => this.logged.push(`warning: ${message}`),
    info: (message) => this.logged.push(`info: ${message}`),
    debug: (level, message) => this.logged.push(`debug ${level}: ${message}`),
  };

  /** Takes turns until `condition` holds. */
  turnUntil(what: string, condition: () => boolean, deadlineMs = DEADLINE_MS): void {
    const endMs = performance.now() + deadlineMs;
    while (!condition()) {
      if (performance.now() > endMs) throw new Error(`Not in time: ${what}`);
      this.reactor.turn(5);
    }
  }

  /** A few turns in which nothing is expected to happen. */
  turnInVain(): void {
    for (let count = 0; count < 5; count++) this.reactor.turn(1);
  }
}

/** The test's end of one connection. */
export class FramePeer {
  readonly #fd: number;
  readonly #rig: LoopRig;
  readonly #reader = new FrameReader();
  #open = true;
  /** The other end has closed. */
  ended = false;

  constructor(fd: number, rig: LoopRig) {
    this.#fd = fd;
    this.#rig = rig;
  }

  /** Sends bytes as they are; takes turns where the kernel has no room. */
  sendBytes(bytes: Uint8Array<ArrayBuffer>): void {
    for (let at = 0; at < bytes.length;) {
      const sent = sendBytes(this.#fd, bytes.subarray(at));
      if (sent > 0) at += sent;
      else if (sent === -ERRNO.EAGAIN) this.#rig.reactor.turn(1);
      else return; // The other end has closed.
    }
  }

  /** Sends a frame; `size` must stand in the header if there is data. */
  send(header: Nv, data?: Uint8Array, version = 2): void {
    this.sendBytes(encodeFrame(version, header, data));
  }

  /** The next frame, or undefined where the other end has closed first. */
  receive(): Frame | undefined {
    let frame = this.#reader.next();
    this.#rig.turnUntil("a frame", () => {
      if (frame === undefined) this.#pull();
      frame ??= this.#reader.next();
      return frame !== undefined || this.ended;
    });
    return frame;
  }

  /** Whether nothing has arrived, after a few turns. */
  isSilent(): boolean {
    this.#rig.turnInVain();
    this.#pull();
    return this.#reader.pendingBytes === 0;
  }

  #pull(): void {
    const chunk = new Uint8Array(256 * 1024);
    const got = recvBytes(this.#fd, chunk);
    if (got > 0) this.#reader.push(chunk.subarray(0, got));
    else if (got !== -ERRNO.EAGAIN) this.ended = true;
  }

  close(): void {
    if (this.#open) closeSocket(this.#fd);
    this.#open = false;
  }
}
