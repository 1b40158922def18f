/**
 * One pair of connections between two simulated nodes: ordered both ways, each message takes a
 * while. It may break without either side noticing for a time.
 * @module
 */
import { ERRNO } from "../../base/errno.ts";
import { type PeerLink, RemoteCommand, type RemoteRequest } from "../../core/ports.ts";
import type { Primary } from "../../core/primary.ts";
import { type ReplyPort, type Secondary, SecondaryRequest } from "../../core/secondary.ts";
import { heapBuffer } from "./memory_disk.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";

const DELAY_MS = 30;
/** Messages that still arrive after the line has broken, at most. */
const STRAGGLERS_MAX = 6;

export interface LinkOptions {
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly primary: Primary;
  /** The process of the primary has not died. */
  readonly primaryAlive: () => boolean;
  readonly takesClaims: boolean;
  readonly protocolVersion: number;
  /** The secondary's answer to a request that changes data is an error. */
  readonly remoteFailed: () => void;
  /** Data of the secondary has arrived. */
  readonly dataRead: () => void;
  /** The primary's side has been closed. */
  readonly closed: (link: Link) => void;
}

/** One direction: what is sent first arrives first. */
class Line {
  readonly #random: Random;
  readonly #scheduler: Scheduler;
  #lastMs = 0;
  /** Messages that may still arrive. */
  #leftCount = Infinity;

  constructor(random: Random, scheduler: Scheduler) {
    this.#random = random;
    this.#scheduler = scheduler;
  }

  /** @param arrive Told whether the message comes through; if not, it is lost or late. */
  carry(arrive: (through: boolean) => void): void {
    const { nowMs } = this.#scheduler;
    this.#lastMs = Math.max(this.#lastMs, nowMs + this.#random.below(DELAY_MS));
    this.#scheduler.after(this.#lastMs - nowMs, () => {
      arrive(this.#leftCount-- > 0);
    });
  }

  break(): void {
    this.#leftCount = Math.min(this.#leftCount, this.#random.below(STRAGGLERS_MAX));
  }
}

export class Link implements PeerLink, ReplyPort {
  readonly requestBytesMax: number;
  readonly protocolVersion: number;
  readonly takesClaims: boolean;
  readonly queuedBytes = 0;
  readonly #options: LinkOptions;
  readonly #toSecondary: Line;
  readonly #toPrimary: Line;
  #secondary: Secondary | undefined;
  #primaryOpen = true;
  #secondaryOpen = true;
  #broken = false;
  /** The secondary has stored everything that it has taken so far. */
  lossless = true;

  constructor(options: LinkOptions) {
    const { random, scheduler } = options;
    this.#options = options;
    this.requestBytesMax = random.pick([512, 1024, 131072]);
    this.protocolVersion = options.protocolVersion;
    this.takesClaims = options.takesClaims;
    this.#toSecondary = new Line(random, scheduler);
    this.#toPrimary = new Line(random, scheduler);
  }

  get primary(): Primary {
    return this.#options.primary;
  }

  /** Messages arrive. */
  get broken(): boolean {
    return this.#broken;
  }

  /** The secondary takes requests. */
  serve(secondary: Secondary): void {
    this.#secondary = secondary;
  }

  /** From now on only a few messages on their way arrive. */
  break(): void {
    this.#broken = true;
    this.#toSecondary.break();
    this.#toPrimary.break();
  }

  /** The primary's side is closed, by whomever: no reply reaches anybody. */
  close(): void {
    if (!this.#primaryOpen) return;
    this.#primaryOpen = false;
    this.break();
    this.#options.closed(this);
  }

  /** The secondary's side is closed: no request reaches anybody, no answer leaves. */
  closeSecondary(): void {
    this.#secondaryOpen = false;
    this.break();
  }

  /** Carries the answer to the handshake, which precedes every reply. */
  answer(arrive: () => void): void {
    this.#toPrimary.carry((through) => {
      if (through && this.#primaryOpen) arrive();
    });
  }

  send(request: RemoteRequest): void {
    const copy = copyOf(request);
    this.#toSecondary.carry((through) => {
      if (through && this.#secondaryOpen) this.#secondary?.request(copy);
    });
  }

  reply(request: SecondaryRequest, received: boolean, errno: number): void {
    if (!this.#secondaryOpen) return;
    const { seqLow, command } = request;
    const data = request.buffer?.bytes.slice();
    const changes = command === RemoteCommand.write || command === RemoteCommand.delete;
    const failed = changes && errno !== 0 && errno !== ERRNO.EOPNOTSUPP;
    if (failed) this.lossless = false;
    this.#toPrimary.carry((through) => {
      if (!this.#primaryOpen) this.#late(seqLow, received, errno);
      if (!through || !this.#primaryOpen) return;
      const { primary } = this;
      const target = primary.readTarget(this, seqLow);
      if (target?.buffer !== undefined && data !== undefined && errno === 0) {
        target.buffer.bytes.set(data, target.bufferOffsetBytes);
        this.#options.dataRead();
      }
      if (failed) this.#options.remoteFailed();
      const known = primary.remoteReply(this, seqLow, received, errno);
      if (!known) throw new Error("a reply that nobody asked for");
    });
  }

  /** A reply of a link that is closed must find nobody. */
  #late(seq: number, received: boolean, errno: number): void {
    const { primary } = this;
    if (!this.#options.primaryAlive()) return;
    const found = primary.readTarget(this, seq) !== undefined ||
      primary.remoteReply(this, seq, received, errno);
    if (found) throw new Error("a reply of an old link was taken");
  }
}

function copyOf(request: RemoteRequest): SecondaryRequest {
  const copy = new SecondaryRequest();
  copy.command = request.command;
  copy.seqLow = request.seq;
  copy.dataOffsetBytes = request.offsetBytes;
  copy.lengthBytes = request.lengthBytes;
  copy.memsync = request.memsync;
  copy.zeros = request.zeros;
  const carries = request.command === RemoteCommand.write && !request.zeros;
  if (carries || request.command === RemoteCommand.read) {
    copy.buffer = heapBuffer(request.lengthBytes);
  }
  if (carries && request.buffer !== undefined) {
    const from = request.bufferOffsetBytes;
    copy.buffer?.bytes.set(request.buffer.bytes.subarray(from, from + request.lengthBytes));
  }
  return copy;
}
