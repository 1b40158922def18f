/**
 * Carries out the requests of one NBD connection: cuts them into pieces, hands these to the
 * target, and answers when the last one is done.
 *
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import { UserCommand } from "../core/request.ts";
import type { IoBuffer } from "../core/ports.ts";
import { NBD_CMD } from "../protocol/nbd.ts";
import type { NbdRequestHeader } from "../protocol/nbd_transmission.ts";
import type { BlockTarget } from "./block_target.ts";
import type { BufferHolder, NbdBudget } from "./nbd_budget.ts";
import {
  NBD_DATA_PIECE_BYTES,
  NBD_EFFECT_PIECE_BYTES,
  NBD_PIECES_UNDER_WAY_MAX,
  NbdOperation,
  NbdPiece,
  type PieceOwner,
} from "./nbd_operation.ts";
import type { NbdReplies } from "./nbd_replies.ts";

/** What all connections of a front share. */
export interface NbdShared {
  readonly target: BlockTarget;
  readonly budget: NbdBudget;
  /** Pieces that nobody uses. */
  readonly freePieces: NbdPiece[];
  /** Pieces that the target has. */
  underWayCount: number;
}

/** Free pieces kept for later. */
const FREE_PIECES_MAX = 1024;

/** See the module. */
export class NbdExecutor implements PieceOwner, BufferHolder {
  heldBytes = 0;
  readonly #shared: NbdShared;
  readonly #replies: NbdReplies;
  readonly #structured: boolean;
  readonly #progressed: () => void;
  readonly #freeOperations: NbdOperation[] = [];
  /** Operations of which more pieces are to be cut, the first one first. */
  readonly #unfinished: NbdOperation[] = [];
  readonly #takenBuffers: IoBuffer[] = [];
  #operationCount = 0;
  #underWayCount = 0;
  #starved = false;
  #open = true;

  /** @param progressed Called after every piece that was completed or sent. */
  constructor(
    shared: NbdShared,
    replies: NbdReplies,
    options: { structured: boolean; progressed: () => void },
  ) {
    this.#shared = shared;
    this.#replies = replies;
    this.#structured = options.structured;
    this.#progressed = options.progressed;
  }

  bufferFree(): void {
    this.#progressed();
  }

  /** Requests without their reply yet. */
  get operationCount(): number {
    return this.#operationCount;
  }

  /** Pieces of this connection that the target has. */
  get underWayCount(): number {
    return this.#underWayCount;
  }

  /** More of a request is to be cut by {@link resume}. */
  get hasUnfinished(): boolean {
    return this.#unfinished.length > 0;
  }

  /** A request waits for memory: none may be begun after it before {@link resume} has helped. */
  get starved(): boolean {
    return this.#starved;
  }

  // ---- requests ----

  /** Begins a request without payload: READ, TRIM, WRITE_ZEROES or FLUSH, already checked. */
  begin(header: NbdRequestHeader): void {
    const operation = this.#beginOperation(header);
    if (operation.command === NBD_CMD.flush) {
      const piece = this.#takePiece();
      piece.assign(this, operation, 0);
      this.#submit(piece, operation);
      return;
    }
    this.#cutMore(operation);
    if (!operation.cut) this.#unfinished.push(operation);
    else if (operation.finished) this.#finish(operation);
  }

  /** Begins a WRITE, already checked, whose payload comes piece by piece. */
  beginWrite(header: NbdRequestHeader): NbdOperation {
    const operation = this.#beginOperation(header);
    operation.cutting = true;
    return operation;
  }

  /**
   * A buffer for the next part of a payload, of `request.lengthBytes`.
   *
   * @returns undefined where there is no memory: try again after {@link resume}.
   */
  nextWritePiece(operation: NbdOperation): NbdPiece | undefined {
    const piece = this.#cutDataPiece(operation);
    if (piece === undefined) this.#starved = true;
    return piece;
  }

  /** The part is there. */
  submitWritePiece(operation: NbdOperation, piece: NbdPiece): void {
    if (operation.errno === 0) this.#submit(piece, operation);
    else this.dropPiece(piece); // A part failed already: the rest is not written.
  }

  /** The part will not be written. */
  dropPiece(piece: NbdPiece): void {
    this.#giveBuffer(piece);
    this.#freePiece(piece);
  }

  /** What is left of the payload will not be written. */
  failWrite(operation: NbdOperation, errno: number): void {
    if (operation.errno === 0) operation.errno = errno;
  }

  /** No more of the payload will come: all of it is there, or the request has failed. */
  endWrite(operation: NbdOperation): void {
    operation.cutting = false;
    if (operation.finished) this.#finish(operation);
  }

  /** Goes on with what waited. */
  resume(): void {
    this.#starved = false;
    for (let index = 0; index < this.#unfinished.length && !this.#starved;) {
      const operation = this.#unfinished[index];
      if (operation === undefined) return;
      this.#cutMore(operation);
      if (!operation.cut) index++;
      else {
        this.#unfinished.splice(index, 1);
        if (operation.finished) this.#finish(operation);
      }
    }
  }

  /** The provider goes away: what is not with the target yet fails with ESHUTDOWN. */
  abort(): void {
    this.#starved = false;
    this.#shared.budget.forget(this);
    for (const operation of this.#unfinished.splice(0)) {
      operation.errno = ERRNO.ESHUTDOWN;
      if (operation.finished) this.#finish(operation);
    }
  }

  /** The connection has ended: what comes back from the target is thrown away. */
  close(): void {
    this.#open = false;
    this.abort();
  }

  // ---- pieces ----

  pieceDone(piece: NbdPiece, operation: NbdOperation): void {
    const { command, errno } = piece.request;
    this.#shared.underWayCount--;
    this.#underWayCount--;
    operation.underWayCount--;
    if (operation.errno === 0) operation.errno = errno;
    if (command === UserCommand.read) this.#readDone(piece, operation);
    else {
      // The buffer of a write now belongs to the target.
      if (piece.heldBytes > 0) this.#shared.budget.release(this, piece.heldBytes);
      this.#freePiece(piece);
    }
    if (operation.finished) this.#finish(operation);
    this.#progressed();
  }

  pieceSent(piece: NbdPiece): void {
    this.#giveBuffer(piece);
    this.#freePiece(piece);
    this.#progressed();
  }

  #readDone(piece: NbdPiece, operation: NbdOperation): void {
    if (operation.whole) return; // Answered when all pieces are here.
    const failed = piece.request.errno !== 0;
    const last = operation.underWayCount === 0 && operation.cut;
    if (operation.lengthBytes === piece.request.lengthBytes) {
      if (!failed) this.#sendData(piece, operation);
    } else if (failed) {
      if (this.#open) this.#replies.pieceFailure(operation, piece, last);
      operation.errorTold = true;
    } else {
      const done = last && (operation.errno === 0 || operation.errorTold);
      if (this.#open) this.#replies.chunkHeader(operation, piece, done);
      this.#sendPiece(piece);
      return;
    }
    if (failed) this.dropPiece(piece);
  }

  /** Answers a READ of one piece. */
  #sendData(piece: NbdPiece, operation: NbdOperation): void {
    if (this.#open) this.#replies.dataHeader(operation);
    this.#sendPiece(piece);
  }

  #sendPiece(piece: NbdPiece): void {
    if (this.#open && !this.#replies.data(piece)) return; // pieceSent() will be called.
    this.#giveBuffer(piece);
    this.#freePiece(piece);
  }

  /** All pieces are done: answers, unless that has happened piece by piece. */
  #finish(operation: NbdOperation): void {
    const { command, errno } = operation;
    const index = this.#unfinished.indexOf(operation);
    if (index !== -1) this.#unfinished.splice(index, 1);
    if (operation.whole) this.#finishWhole(operation);
    else if (errno !== 0) {
      if (this.#open && !operation.errorTold) this.#replies.failure(operation, errno);
    } else if (command !== NBD_CMD.read && this.#open) this.#replies.success(operation);
    this.#operationCount--;
    this.#freeOperations.push(operation);
  }

  #finishWhole(operation: NbdOperation): void {
    const failed = operation.errno !== 0;
    if (this.#open) {
      if (failed) this.#replies.failure(operation, operation.errno);
      else this.#replies.dataHeader(operation);
    }
    for (const piece of operation.pieces) {
      if (failed) this.dropPiece(piece);
      else this.#sendPiece(piece);
    }
    operation.pieces.length = 0;
  }

  // ---- cutting ----

  /** Cuts and submits what may be under way; the caller looks at the operation afterwards. */
  #cutMore(operation: NbdOperation): void {
    operation.cutting = true;
    if (operation.whole) this.#cutWhole(operation);
    else {
      while (!operation.cut && operation.underWayCount < NBD_PIECES_UNDER_WAY_MAX) {
        const piece = this.#cutPiece(operation);
        if (piece === undefined) {
          this.#starved = true;
          break;
        }
        this.#submit(piece, operation);
      }
    }
    operation.cutting = false;
  }

  #cutPiece(operation: NbdOperation): NbdPiece | undefined {
    if (operation.command === NBD_CMD.read) return this.#cutDataPiece(operation);
    if (operation.noHole) {
      const piece = this.#cutDataPiece(operation);
      piece?.request.buffer?.bytes.fill(0);
      return piece;
    }
    const piece = this.#takePiece();
    piece.assign(this, operation, Math.min(operation.leftBytes, NBD_EFFECT_PIECE_BYTES));
    return piece;
  }

  #cutDataPiece(operation: NbdOperation): NbdPiece | undefined {
    const wantedBytes = Math.min(operation.leftBytes, NBD_DATA_PIECE_BYTES);
    const buffer = this.#shared.budget.tryTake(this, wantedBytes);
    return buffer === undefined ? undefined : this.#assignBuffer(operation, buffer, wantedBytes);
  }

  /** All pieces or none, so that two such requests never wait for each other. */
  #cutWhole(operation: NbdOperation): void {
    const options = { pieceBytes: NBD_DATA_PIECE_BYTES, into: this.#takenBuffers };
    this.#starved = !this.#shared.budget.tryTakeAll(this, operation.lengthBytes, options);
    for (const buffer of this.#takenBuffers) {
      const wantedBytes = Math.min(operation.leftBytes, NBD_DATA_PIECE_BYTES);
      const piece = this.#assignBuffer(operation, buffer, wantedBytes);
      operation.pieces.push(piece);
      this.#submit(piece, operation);
    }
    this.#takenBuffers.length = 0;
  }

  #assignBuffer(operation: NbdOperation, buffer: IoBuffer, wantedBytes: number): NbdPiece {
    const piece = this.#takePiece();
    piece.assign(this, operation, Math.min(wantedBytes, buffer.bytes.length));
    piece.request.buffer = buffer;
    piece.heldBytes = buffer.bytes.length;
    return piece;
  }

  #submit(piece: NbdPiece, operation: NbdOperation): void {
    operation.underWayCount++;
    this.#shared.underWayCount++;
    this.#underWayCount++;
    this.#shared.target.submit(piece.request);
  }

  // ---- objects used again ----

  #beginOperation(header: NbdRequestHeader): NbdOperation {
    const operation = this.#freeOperations.pop() ?? new NbdOperation();
    operation.begin(header, this.#structured);
    this.#operationCount++;
    return operation;
  }

  #takePiece(): NbdPiece {
    return this.#shared.freePieces.pop() ?? new NbdPiece();
  }

  #freePiece(piece: NbdPiece): void {
    if (this.#shared.freePieces.length < FREE_PIECES_MAX) this.#shared.freePieces.push(piece);
  }

  #giveBuffer(piece: NbdPiece): void {
    const buffer = piece.request.buffer;
    invariant(buffer !== undefined, "a piece with data has its buffer");
    piece.request.buffer = undefined;
    this.#shared.budget.give(this, buffer);
  }
}
