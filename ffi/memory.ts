/**
 * Memory outside the JavaScript heap: every isolate of the process and every system call sees
 * the same bytes by address, and no garbage collector moves or frees them.
 *
 * Source: mmap(2).
 * @module
 */
import { EX, HastError, invariant } from "../base/errors.ts";
import { SystemError } from "../base/system_error.ts";
import { lastErrno } from "./errno.ts";
import { hostOs, libc } from "./libc.ts";

/** Smallest piece an {@link Arena} hands out, and the alignment of all of them. */
export const PAGE_BYTES = 4096;
/** Largest piece an {@link Arena} hands out: one NBD request of the largest size. */
export const PIECE_BYTES_MAX = 32 * 1024 * 1024;

const PROT_READ_WRITE = 1 | 2;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = { linux: 0x20, freebsd: 0x1000 };
const MAP_NORESERVE = { linux: 0x4000, freebsd: 0 };
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

/** Zeroed pages that stay until {@link releasePages} or the end of the process. */
export interface Pages {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of `bytes[0]`; a multiple of 4096. */
  readonly address: bigint;
}

/**
 * Maps memory of its own: zeroed, page-aligned, taken from the system only where it is touched.
 *
 * @param byteCount Rounded up to whole pages.
 * @throws {SystemError} The system has no address space or memory left.
 */
export function mapPages(byteCount: number): Pages {
  invariant(Number.isSafeInteger(byteCount) && byteCount > 0, "a mapping has a size");
  const sizeBytes = Math.ceil(byteCount / PAGE_BYTES) * PAGE_BYTES;
  const os = hostOs();
  const flags = MAP_PRIVATE | MAP_ANONYMOUS[os] | MAP_NORESERVE[os];
  const address = libc().mmap(0n, BigInt(sizeBytes), PROT_READ_WRITE, flags, -1, 0n);
  if (address === MAP_FAILED) {
    const message = `Unable to map ${sizeBytes} bytes of memory`;
    throw new SystemError(lastErrno(), "mmap", { message });
  }
  return { bytes: bytesAt(address, sizeBytes), address };
}

/** Gives pages back to the system. Whoever touches their bytes afterwards ends the process. */
export function releasePages(pages: Pages): void {
  libc().munmap(pages.address, BigInt(pages.bytes.length));
}

/**
 * Memory that another isolate of this process (or this one) holds, seen by its address.
 *
 * @param address Of mapped memory that stays mapped as long as the result is used.
 */
export function bytesAt(address: bigint, byteCount: number): Uint8Array<ArrayBuffer> {
  const pointer = Deno.UnsafePointer.create(address);
  invariant(pointer !== null, "an address is not null");
  return new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, byteCount));
}

type PieceState = "free" | "taken" | "split";

/** One piece of an arena's memory; the halves of a split piece are kept for the next split. */
class Piece {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
  /** The piece has `PAGE_BYTES << order` bytes. */
  readonly order: number;
  readonly owner: Arena;
  state: PieceState = "free";
  halves: [Piece, Piece] | undefined;

  constructor(owner: Arena, region: Pages, offsetBytes: number, order: number) {
    this.owner = owner;
    this.order = order;
    this.bytes = region.bytes.subarray(offsetBytes, offsetBytes + (PAGE_BYTES << order));
    this.address = region.address + BigInt(offsetBytes);
  }
}

/** What an {@link Arena} hands out; an `IoBuffer` of `core/ports.ts`. */
export interface ArenaBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
}

/**
 * A `BufferPool` (`core/ports.ts`) over one mapping of limited size: pieces are powers of two
 * from 4 KiB to 32 MiB, page-aligned, each aligned to its own size within the mapping. Taking
 * and giving back is a pop and a push; free halves are joined only when nothing else is left.
 * For the thread that made it; other threads see a piece by `bytesAt(address, length)`.
 */
export class Arena {
  /** Bytes that can be taken in all. */
  readonly limitBytes: number;
  /** Address of the mapping. */
  readonly address: bigint;
  readonly #region: Pages;
  readonly #orderMax: number;
  readonly #roots: Piece[] = [];
  /** Free pieces by order; the last given is the next taken: its pages are warm. */
  readonly #free: Piece[][];
  #takenBytes = 0;

  /**
   * @param limitBytes Rounded up to a power of two below 32 MiB, to a multiple of 32 MiB above.
   * @throws {SystemError} The mapping is refused.
   */
  constructor(limitBytes: number) {
    this.#orderMax = orderOf(Math.min(limitBytes, PIECE_BYTES_MAX));
    const rootBytes = PAGE_BYTES << this.#orderMax;
    const rootCount = Math.ceil(limitBytes / rootBytes);
    this.limitBytes = rootCount * rootBytes;
    this.#region = mapPages(this.limitBytes);
    this.address = this.#region.address;
    this.#free = Array.from({ length: this.#orderMax + 1 }, () => []);
    for (let index = 0; index < rootCount; index++) {
      this.#roots.push(new Piece(this, this.#region, index * rootBytes, this.#orderMax));
    }
    this.#join();
  }

  /** Bytes in pieces that are taken now. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /**
   * A piece of at least `byteCount` bytes, its content undefined.
   *
   * @throws {HastError} The limit is reached; {@link tryTake} says so without a throw.
   */
  take(byteCount: number): ArenaBuffer {
    const piece = this.tryTake(byteCount);
    if (piece !== undefined) return piece;
    throw new HastError(
      EX.osErr,
      `Unable to take a buffer of ${byteCount} bytes: ${this.#takenBytes} of ${this.limitBytes} ` +
        `bytes are in use, in pieces of at most ${PAGE_BYTES << this.#orderMax} bytes.`,
    );
  }

  /** As {@link take}, but undefined where the limit is reached: the caller waits for a `give`. */
  tryTake(byteCount: number): ArenaBuffer | undefined {
    if (byteCount > PAGE_BYTES << this.#orderMax) return undefined;
    const order = orderOf(byteCount);
    let piece = this.#free[order]?.pop() ?? this.#splitDownTo(order);
    if (piece === undefined) {
      this.#join();
      piece = this.#free[order]?.pop() ?? this.#splitDownTo(order);
      if (piece === undefined) return undefined;
    }
    piece.state = "taken";
    this.#takenBytes += PAGE_BYTES << order;
    return piece;
  }

  /** Takes a piece back. Nobody may hold it any longer. */
  give(buffer: ArenaBuffer): void {
    invariant(buffer instanceof Piece && buffer.owner === this, "a buffer is of this arena");
    invariant(buffer.state === "taken", "a buffer is given back once");
    buffer.state = "free";
    this.#takenBytes -= PAGE_BYTES << buffer.order;
    this.#free[buffer.order]?.push(buffer);
  }

  /** Halves the smallest larger piece until one of `order` is there; that one is not listed. */
  #splitDownTo(order: number): Piece | undefined {
    let larger = order + 1;
    while (larger <= this.#orderMax && this.#free[larger]?.length === 0) larger++;
    let piece = this.#free[larger]?.pop();
    while (piece !== undefined && piece.order > order) {
      const [low, high] = this.#halvesOf(piece);
      piece.state = "split";
      this.#free[high.order]?.push(high);
      piece = low;
    }
    return piece;
  }

  #halvesOf(piece: Piece): [Piece, Piece] {
    if (piece.halves === undefined) {
      const order = piece.order - 1;
      const offsetBytes = Number(piece.address - this.address);
      piece.halves = [
        new Piece(this, this.#region, offsetBytes, order),
        new Piece(this, this.#region, offsetBytes + (PAGE_BYTES << order), order),
      ];
    }
    return piece.halves;
  }

  /** Joins free halves again, everywhere, and lists what is free afterwards. */
  #join(): void {
    for (const list of this.#free) list.length = 0;
    // Backwards, so that low addresses are taken first.
    for (const root of this.#roots.toReversed()) {
      joinBelow(root);
      this.#list(root);
    }
  }

  #list(piece: Piece): void {
    if (piece.state === "free") this.#free[piece.order]?.push(piece);
    if (piece.state !== "split" || piece.halves === undefined) return;
    this.#list(piece.halves[1]);
    this.#list(piece.halves[0]);
  }
}

/** The smallest order whose pieces hold `byteCount` bytes. */
function orderOf(byteCount: number): number {
  invariant(byteCount > 0 && byteCount <= PIECE_BYTES_MAX, "a buffer has 1 byte to 32 MiB");
  const pageCount = Math.ceil(byteCount / PAGE_BYTES);
  return 32 - Math.clz32(pageCount - 1);
}

/** Makes a split piece free if, after the same for them, both its halves are. */
function joinBelow(piece: Piece): void {
  if (piece.state !== "split" || piece.halves === undefined) return;
  for (const half of piece.halves) joinBelow(half);
  if (piece.halves.every((half) => half.state === "free")) piece.state = "free";
}
