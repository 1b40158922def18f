/**
 * A file as the target of a front: what the data thread does with a primary, without the other
 * node. Requests are carried out in the loop's batches.
 * @module
 */
import { ERRNO } from "../../base/errno.ts";
import type { BufferPool } from "../../core/ports.ts";
import { UserCommand, type UserRequest } from "../../core/request.ts";
import {
  closeComponent,
  type Component,
  flush,
  openComponent,
  punchHole,
  readAt,
  writeAt,
  zeroRange,
} from "../../ffi/block_device.ts";
import type { BlockTarget } from "../../hastd/block_target.ts";
import type { BatchWork } from "../../hastd/reactor.ts";

/** See the module. */
export class FileTarget implements BlockTarget, BatchWork, Disposable {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly fastZero = true;
  readonly #component: Component;
  readonly #buffers: BufferPool;
  #queue: UserRequest[] = [];
  #spare: UserRequest[] = [];

  /** @param buffers Takes the buffers of writes back, as the core does. */
  constructor(path: string, buffers: BufferPool) {
    this.#component = openComponent(path);
    this.#buffers = buffers;
    this.sizeBytes = this.#component.sizeBytes;
    this.sectorBytes = this.#component.sectorSizeBytes;
  }

  submit(request: UserRequest): void {
    this.#queue.push(request);
  }

  get pending(): boolean {
    return this.#queue.length > 0;
  }

  runBatch(): void {
    const batch = this.#queue;
    this.#queue = this.#spare;
    this.#spare = batch;
    for (const request of batch) {
      request.errno = this.#carryOut(request);
      if (request.command === UserCommand.write && request.buffer !== undefined) {
        this.#buffers.give(request.buffer);
        request.buffer = undefined;
      }
      request.completed(request);
    }
    batch.length = 0;
  }

  mayWait(): boolean {
    return this.#queue.length === 0;
  }

  waited(): void {}

  [Symbol.dispose](): void {
    closeComponent(this.#component);
  }

  #carryOut(request: UserRequest): number {
    const { fd } = this.#component;
    const { command, fua } = request;
    const errno = this.#change(request);
    if (errno !== 0 || !fua || command === UserCommand.read) return errno;
    return flush(fd);
  }

  #change({ command, buffer, bufferOffsetBytes, offsetBytes, lengthBytes }: UserRequest): number {
    const { fd, kind } = this.#component;
    switch (command) {
      case UserCommand.read:
      case UserCommand.write: {
        if (buffer === undefined) return ERRNO.EFAULT;
        const address = buffer.address + BigInt(bufferOffsetBytes);
        const transfer = command === UserCommand.read ? readAt : writeAt;
        return transfer(fd, address, lengthBytes, offsetBytes);
      }
      case UserCommand.delete:
        return punchHole(fd, kind, offsetBytes, lengthBytes);
      case UserCommand.zero:
        return zeroRange(fd, offsetBytes, lengthBytes);
      case UserCommand.flush:
        return flush(fd);
    }
  }
}
