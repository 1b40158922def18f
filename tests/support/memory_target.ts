/**
 * A disk in memory as the target of a front. Tests decide when requests complete, and how.
 * @module
 */
import type { BufferPool } from "../../core/ports.ts";
import { UserCommand, type UserRequest } from "../../core/request.ts";
import type { BlockTarget, TargetExtent } from "../../hastd/block_target.ts";

/** What was submitted, as it was then. */
export interface Submitted {
  command: UserCommand;
  offsetBytes: number;
  lengthBytes: number;
  fua: boolean;
}

/** See the module. */
export class MemoryTarget implements BlockTarget {
  readonly sectorBytes = 512;
  readonly fastZero: boolean;
  readonly data: Uint8Array;
  readonly submitted: Submitted[] = [];
  readonly cached: [number, number][] = [];
  /** Requests that are not completed yet; see {@link complete}. */
  readonly held: UserRequest[] = [];
  /** now: inside `submit`; held: when the test says so. */
  mode: "now" | "held" = "now";
  /** The result of a request, by what it is; 0 unless replaced. */
  errnoOf: (request: UserRequest) => number = () => 0;
  blockStatus?: (offsetBytes: number, lengthBytes: number, countMax: number) => TargetExtent[];
  readonly #buffers: BufferPool;

  /** @param sizeBytes May be larger than `dataBytes`; what lies beyond has no content. */
  constructor(
    buffers: BufferPool,
    readonly sizeBytes: number,
    options: { dataBytes?: number; fastZero?: boolean } = {},
  ) {
    this.#buffers = buffers;
    this.data = new Uint8Array(options.dataBytes ?? sizeBytes);
    this.fastZero = options.fastZero ?? true;
  }

  submit(request: UserRequest): void {
    const { command, offsetBytes, lengthBytes, fua } = request;
    this.submitted.push({ command, offsetBytes, lengthBytes, fua });
    if (this.mode === "now") this.#carryOut(request);
    else this.held.push(request);
  }

  cache(offsetBytes: number, lengthBytes: number): void {
    this.cached.push([offsetBytes, lengthBytes]);
  }

  /** Completes held requests, those that come in meanwhile not. */
  complete(inOrder: (held: UserRequest[]) => UserRequest[] = (held) => held): void {
    for (const request of inOrder(this.held.splice(0))) this.#carryOut(request);
  }

  #carryOut(request: UserRequest): void {
    request.errno = this.errnoOf(request);
    if (request.errno === 0) this.#change(request);
    if (request.command === UserCommand.write && request.buffer !== undefined) {
      // Whatever the core does with it afterwards, it is not the writer's any more.
      request.buffer.bytes.fill(0xdb, 0, request.lengthBytes);
      this.#buffers.give(request.buffer);
      request.buffer = undefined;
    }
    request.completed(request);
  }

  #change({ command, offsetBytes, lengthBytes, buffer, bufferOffsetBytes }: UserRequest): void {
    const range = this.data.subarray(offsetBytes, offsetBytes + lengthBytes);
    const memory = buffer?.bytes.subarray(bufferOffsetBytes, bufferOffsetBytes + range.length);
    if (command === UserCommand.read) memory?.set(range);
    else if (command === UserCommand.write && memory !== undefined) range.set(memory);
    else if (command === UserCommand.zero || command === UserCommand.delete) range.fill(0);
  }
}
