/**
 * What a socket still has to send: small pieces copied one behind the other, large ones by
 * reference, in order, handed to the kernel many at a time.
 *
 * Source: sendmsg(2).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import type { BufferPool, IoBuffer } from "../core/ports.ts";
import { IovecList } from "../ffi/iovec.ts";
import { sendVector } from "../ffi/socket.ts";

/** Small pieces are copied into chunks of this size, and none may be larger. */
export const CHUNK_BYTES = 64 * 1024;
/** Segments that one sendmsg(2) is given. */
const SEGMENTS_PER_CALL_MAX = 64;

/** Whose memory was queued by reference. */
export interface OutputOwner {
  /** The memory is not used any more: it was sent, or the socket was closed. */
  outputDone(): void;
}

/** What a socket needs of its output. */
export interface SocketOutput {
  /** Bytes that the kernel has not taken yet. */
  readonly queuedBytes: number;
  /** Bytes that the kernel has taken so far. */
  readonly sentBytes: number;
  /**
   * Room to write a small piece into: `byteCount` bytes at `reservedAt` of the result. Nothing is
   * queued before `commit`.
   */
  reserve(byteCount: number): Uint8Array<ArrayBuffer>;
  /** Where the room of the last `reserve` begins. */
  readonly reservedAt: number;
  /** Queues the first `byteCount` bytes of what was reserved. */
  commit(byteCount: number): void;
  /** Queues memory that stays as it is until `owner` is told. */
  reference(
    buffer: IoBuffer,
    offsetBytes: number,
    byteCount: number,
    owner: OutputOwner | undefined,
  ): void;
  /**
   * Sends until nothing is left or the kernel takes no more.
   *
   * @returns 0 if nothing is left, EAGAIN if the kernel has no room, or the errno that ends the
   * connection.
   */
  send(fd: number): number;
  /** Forgets everything, for good; owners are told. */
  clear(): void;
}

/** A stretch of memory to send. Objects are used again. */
class Segment {
  buffer: IoBuffer | undefined = undefined;
  startBytes = 0;
  endBytes = 0;
  /** Told when the segment is over. */
  owner: OutputOwner | undefined = undefined;
  /** `buffer` is a chunk of the queue, and this is the last segment in it. */
  endsChunk = false;
}

/** Shared by all queues of the thread: each fills and empties it within one call. */
let iovecs: IovecList | undefined;

export class OutputQueue implements SocketOutput {
  readonly #pool: BufferPool;
  /** A ring whose size is a power of two. */
  #ring: Segment[] = Array.from({ length: 16 }, () => new Segment());
  #first = 0;
  #count = 0;
  /** The chunk that small pieces go to, filled up to `#chunkEnd`. */
  #chunk: IoBuffer | undefined = undefined;
  #chunkEnd = 0;
  /** The last segment may grow: it ends where the chunk is filled up to. */
  #growing = false;
  #queuedBytes = 0;
  #sentBytes = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  reserve(byteCount: number): Uint8Array<ArrayBuffer> {
    invariant(byteCount <= CHUNK_BYTES, "a piece that is copied is small");
    if (this.#chunk !== undefined && this.#chunkEnd + byteCount > CHUNK_BYTES) this.#endChunk();
    if (this.#chunk === undefined) {
      this.#chunk = this.#pool.take(CHUNK_BYTES);
      this.#chunkEnd = 0;
      this.#growing = false;
    }
    return this.#chunk.bytes;
  }

  get reservedAt(): number {
    return this.#chunkEnd;
  }

  commit(byteCount: number): void {
    if (byteCount === 0) return;
    const chunk = this.#chunk;
    invariant(chunk !== undefined, "room was reserved");
    const startBytes = this.#chunkEnd;
    this.#chunkEnd += byteCount;
    this.#queuedBytes += byteCount;
    if (this.#growing) this.#last().endBytes = this.#chunkEnd;
    else {
      this.#append(chunk, startBytes, byteCount, undefined);
      this.#growing = true;
    }
  }

  reference(
    buffer: IoBuffer,
    offsetBytes: number,
    byteCount: number,
    owner: OutputOwner | undefined,
  ): void {
    this.#growing = false;
    this.#queuedBytes += byteCount;
    this.#append(buffer, offsetBytes, byteCount, owner);
  }

  send(fd: number): number {
    while (this.#count > 0) {
      const sentBytes = this.#sendSome(fd);
      if (sentBytes < 0) return -sentBytes;
      this.#queuedBytes -= sentBytes;
      this.#sentBytes += sentBytes;
      if (!this.#advance(sentBytes)) return ERRNO.EAGAIN;
    }
    return 0;
  }

  /**
   * Hands the first `byteCount` bytes to `sink`, in pieces that are valid within that call, instead
   * of sending them. Owners are told.
   */
  take(byteCount: number, sink: (piece: Uint8Array) => void): void {
    // An owner that is told may close the socket, which clears the queue.
    for (let leftBytes = byteCount; leftBytes > 0 && this.#count > 0;) {
      const segment = this.#at(0);
      const { buffer, startBytes } = segment;
      invariant(buffer !== undefined, "a segment has its memory");
      const pieceBytes = Math.min(leftBytes, segment.endBytes - startBytes);
      sink(buffer.bytes.subarray(startBytes, startBytes + pieceBytes));
      leftBytes -= pieceBytes;
      this.#queuedBytes -= pieceBytes;
      segment.startBytes += pieceBytes;
      if (segment.startBytes === segment.endBytes) this.#finishFirst();
    }
  }

  clear(): void {
    while (this.#count > 0) this.#finishFirst();
    this.#queuedBytes = 0;
    if (this.#chunk !== undefined) this.#pool.give(this.#chunk);
    this.#chunk = undefined;
  }

  /** Returns what sendmsg(2) says of the first segments. */
  #sendSome(fd: number): number {
    const list = iovecs ??= new IovecList(SEGMENTS_PER_CALL_MAX);
    list.clear();
    const count = Math.min(this.#count, SEGMENTS_PER_CALL_MAX);
    for (let index = 0; index < count; index++) {
      const segment = this.#at(index);
      const buffer = segment.buffer;
      if (buffer === undefined) continue;
      list.push(
        buffer.address + BigInt(segment.startBytes),
        segment.endBytes - segment.startBytes,
      );
    }
    return sendVector(fd, list);
  }

  /** Takes off what was sent. Returns whether all that was offered has been taken. */
  #advance(sentBytes: number): boolean {
    let offered = Math.min(this.#count, SEGMENTS_PER_CALL_MAX);
    let left = sentBytes;
    // An owner that is told may close the socket, which clears the queue.
    for (; offered > 0 && this.#count > 0; offered--) {
      const segment = this.#at(0);
      const segmentBytes = segment.endBytes - segment.startBytes;
      if (segmentBytes > left) {
        segment.startBytes += left;
        return false;
      }
      left -= segmentBytes;
      this.#finishFirst();
    }
    return true;
  }

  #finishFirst(): void {
    const segment = this.#at(0);
    const { buffer, owner, endsChunk } = segment;
    this.#first = (this.#first + 1) & (this.#ring.length - 1);
    this.#count--;
    segment.buffer = undefined;
    segment.owner = undefined;
    segment.endsChunk = false;
    if (this.#count === 0) this.#growing = false;
    if (endsChunk && buffer !== undefined) this.#pool.give(buffer);
    else if (this.#count === 0 && this.#chunk !== undefined) this.#dropChunk(this.#chunk);
    owner?.outputDone();
  }

  /** Nothing is queued: the chunk goes back, so that idle sockets hold none. */
  #dropChunk(chunk: IoBuffer): void {
    this.#chunk = undefined;
    this.#pool.give(chunk);
  }

  /** The chunk takes no more; it goes back when its last segment is sent. */
  #endChunk(): void {
    const chunk = this.#chunk;
    if (chunk === undefined) return;
    this.#chunk = undefined;
    this.#growing = false;
    for (let index = this.#count - 1; index >= 0; index--) {
      const segment = this.#at(index);
      if (segment.buffer !== chunk) continue;
      segment.endsChunk = true;
      return;
    }
    this.#pool.give(chunk);
  }

  #append(
    buffer: IoBuffer,
    startBytes: number,
    byteCount: number,
    owner: OutputOwner | undefined,
  ): void {
    if (this.#count === this.#ring.length) this.#grow();
    const segment = this.#at(this.#count++);
    segment.buffer = buffer;
    segment.startBytes = startBytes;
    segment.endBytes = startBytes + byteCount;
    segment.owner = owner;
  }

  #at(index: number): Segment {
    const segment = this.#ring[(this.#first + index) & (this.#ring.length - 1)];
    invariant(segment !== undefined, "a ring has its segments");
    return segment;
  }

  #last(): Segment {
    return this.#at(this.#count - 1);
  }

  #grow(): void {
    const inOrder: Segment[] = [];
    for (let index = 0; index < this.#count; index++) inOrder.push(this.#at(index));
    while (inOrder.length < 2 * this.#count) inOrder.push(new Segment());
    this.#ring = inOrder;
    this.#first = 0;
  }
}
