/**
 * One NBD request in progress, and the pieces in which it is carried out.
 *
 * A request is cut into pieces so that no single one fills much memory or keeps the disk for long:
 * a WRITE of 32 MiB is under way before its last byte is here, and a READ is answered in chunks
 * where the client takes structured replies. Objects are kept and used again.
 *
 * @module
 */
import { UserCommand, UserRequest } from "../core/request.ts";
import { NBD_CMD, NBD_CMD_FLAG } from "../protocol/nbd.ts";
import type { NbdRequestHeader } from "../protocol/nbd_transmission.ts";
import { NBD_RESERVE_BYTES } from "./nbd_budget.ts";
import type { OutputOwner } from "./output_queue.ts";

/** Largest piece that has data. */
export const NBD_DATA_PIECE_BYTES = 1024 * 1024;
/** Largest piece without data: so much is locked and marked at a time. */
export const NBD_EFFECT_PIECE_BYTES = 32 * 1024 * 1024;
/** Most pieces of one request that are under way at a time, but for a `whole` READ. */
export const NBD_PIECES_UNDER_WAY_MAX = 8;

/** One request of a client, from its header to its reply. */
export class NbdOperation {
  command = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  fua = false;
  /** READ: the reply may not be cut into chunks, so that all data must be there first. */
  whole = false;
  /** WRITE_ZEROES: zeros must be written, not holes made. */
  noHole = false;
  /** How much of the range is cut into pieces already. */
  cutBytes = 0;
  /** More pieces are being cut: the request cannot be finished yet. */
  cutting = false;
  /** Pieces that the target has and has not completed. */
  underWayCount = 0;
  /** The first error: a FreeBSD errno. */
  errno = 0;
  /** A chunk of the reply has told of the error. */
  errorTold = false;
  /** All pieces of a `whole` READ, in order. */
  readonly pieces: NbdPiece[] = [];

  /** Begins anew, with a request that was checked. */
  begin(header: NbdRequestHeader, structuredReplies: boolean): void {
    const { command, flags, lengthBytes } = header;
    this.command = command;
    this.cookieHigh = header.cookieHigh;
    this.cookieLow = header.cookieLow;
    this.offsetBytes = header.offsetBytes;
    this.lengthBytes = lengthBytes;
    this.fua = (flags & NBD_CMD_FLAG.fua) !== 0;
    this.whole = command === NBD_CMD.read && lengthBytes > NBD_RESERVE_BYTES &&
      (!structuredReplies || (flags & NBD_CMD_FLAG.df) !== 0);
    this.noHole = command === NBD_CMD.writeZeroes && (flags & NBD_CMD_FLAG.noHole) !== 0;
    this.cutBytes = 0;
    this.cutting = false;
    this.underWayCount = 0;
    this.errno = 0;
    this.errorTold = false;
    this.pieces.length = 0;
  }

  /** How much of the range is not cut into pieces yet. */
  get leftBytes(): number {
    return this.lengthBytes - this.cutBytes;
  }

  /** No more pieces will be cut, for better or worse. */
  get cut(): boolean {
    return this.errno !== 0 || this.cutBytes === this.lengthBytes;
  }

  /** True when nothing is left to do but the reply. */
  get finished(): boolean {
    return this.underWayCount === 0 && !this.cutting && this.cut;
  }
}

/** Who carries out the pieces of its operations: a connection. */
export interface PieceOwner {
  /** The target has completed a piece; nothing may be submitted from inside. */
  pieceDone(piece: NbdPiece, operation: NbdOperation): void;
  /** The data of a piece has been sent, or will never be: its buffer is free. */
  pieceSent(piece: NbdPiece): void;
}

/** One piece on its way through the target, and of a READ to the client. */
export class NbdPiece implements OutputOwner {
  readonly request: UserRequest;
  /** True size of the buffer, which counts for the budget. */
  heldBytes = 0;
  #owner: PieceOwner | undefined = undefined;
  #operation: NbdOperation | undefined = undefined;

  constructor() {
    this.request = new UserRequest(() => {
      if (this.#operation !== undefined) this.#owner?.pieceDone(this, this.#operation);
    });
  }

  /** Makes this the next `byteCount` bytes of `operation`. */
  assign(owner: PieceOwner, operation: NbdOperation, byteCount: number): void {
    this.#owner = owner;
    this.#operation = operation;
    this.request.command = userCommandOf(operation);
    this.request.offsetBytes = operation.offsetBytes + operation.cutBytes;
    this.request.lengthBytes = byteCount;
    this.request.fua = operation.fua;
    this.request.buffer = undefined;
    this.request.bufferOffsetBytes = 0;
    this.request.errno = 0;
    this.heldBytes = 0;
    operation.cutBytes += byteCount;
  }

  outputDone(): void {
    this.#owner?.pieceSent(this);
  }
}

function userCommandOf(operation: NbdOperation): UserCommand {
  switch (operation.command) {
    case NBD_CMD.read:
      return UserCommand.read;
    case NBD_CMD.write:
      return UserCommand.write;
    case NBD_CMD.flush:
      return UserCommand.flush;
    case NBD_CMD.trim:
      return UserCommand.delete;
    default:
      return operation.noHole ? UserCommand.write : UserCommand.zero;
  }
}
