/**
 * One block of a synchronisation on its way from one component to the other.
 * @module
 */
import { type DiskJob, DiskOp, type IoBuffer, type PeerLink } from "./ports.ts";
import { LockedRange } from "./range_lock.ts";
import type { PieceOwner, RemotePiece } from "./transfer.ts";

/** One block: read here, written there, its range locked all the while. */
export class SyncBlock extends LockedRange implements DiskJob, PieceOwner {
  readonly #engine: SyncBlockEngine;
  op = DiskOp.read;
  offsetBytes = 0;
  lengthBytes = 0;
  buffer: IoBuffer | undefined = undefined;
  readonly bufferOffsetBytes = 0;
  dataOffsetBytes = 0;
  extent = 0;
  link: PeerLink | undefined = undefined;
  fromPeer = false;

  constructor(engine: SyncBlockEngine) {
    super();
    this.#engine = engine;
  }

  override granted(): void {
    this.#engine.blockLocked(this);
  }

  diskDone(errno: number): void {
    this.#engine.blockOnDisk(this, errno);
  }

  pieceReceived(_piece: RemotePiece): void {}

  pieceDone(_piece: RemotePiece, errno: number): void {
    this.#engine.blockAtPeer(this, errno);
  }
}

/** What a block tells of itself. */
export interface SyncBlockEngine {
  blockLocked(block: SyncBlock): void;
  blockOnDisk(block: SyncBlock, errno: number): void;
  blockAtPeer(block: SyncBlock, errno: number): void;
}
