/**
 * The other node as the primary sees it: at most one link, and what was asked through it.
 *
 * Every request gets a number that is never used again in the life of the worker, and every link
 * is its own object: a late reply of an old connection finds nobody.
 *
 * Source: wire.md (requests, replies).
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import type { PeerLink, RemoteCommand } from "./ports.ts";
import { type PieceOwner, RemotePiece } from "./transfer.ts";

const FREE_PIECES_MAX = 4096;

export class RemoteSide {
  readonly #pieces = new Map<number, RemotePiece>();
  readonly #free: RemotePiece[] = [];
  #nextSeq = 1;
  #link: PeerLink | undefined = undefined;

  /** The link in use, or undefined. */
  get link(): PeerLink | undefined {
    return this.#link;
  }

  /** Requests that the peer has not answered for good. */
  get pendingCount(): number {
    return this.#pieces.size;
  }

  connect(link: PeerLink): void {
    this.#link = link;
  }

  /**
   * A fresh request, to be filled in and given to {@link send}.
   *
   * @param owner Whoever is told of its replies.
   */
  prepare(command: RemoteCommand, owner: PieceOwner): RemotePiece {
    const piece = this.#free.pop() ?? new RemotePiece();
    piece.command = command;
    piece.seq = this.#nextSeq++;
    piece.offsetBytes = 0;
    piece.lengthBytes = 0;
    piece.memsync = false;
    piece.buffer = undefined;
    piece.bufferOffsetBytes = 0;
    piece.zeros = false;
    piece.received = false;
    piece.owner = owner;
    return piece;
  }

  /** Sends one request; the link must be there and take its length. */
  send(piece: RemotePiece): void {
    invariant(this.#link !== undefined, "there is a link to send through");
    this.#pieces.set(piece.seq, piece);
    this.#link.send(piece);
  }

  /** The request that a reply on `link` belongs to, or undefined for a stray one. */
  find(link: PeerLink, seq: number): RemotePiece | undefined {
    return link === this.#link ? this.#pieces.get(seq) : undefined;
  }

  /**
   * A reply has come.
   *
   * @returns whether it answers something that was asked.
   */
  reply(link: PeerLink, seq: number, received: boolean, errno: number): boolean {
    const piece = this.find(link, seq);
    if (piece === undefined) return false;
    if (received && errno === 0) {
      if (!piece.memsync) return false;
      piece.owner?.pieceReceived(piece);
      return true;
    }
    this.#pieces.delete(seq);
    this.#finish(piece, errno);
    return true;
  }

  /** The link is gone: everything that is still asked fails with ENOTCONN. */
  disconnect(): void {
    this.#link = undefined;
    const orphans = [...this.#pieces.values()];
    this.#pieces.clear();
    for (const piece of orphans) this.#finish(piece, ERRNO.ENOTCONN);
  }

  #finish(piece: RemotePiece, errno: number): void {
    const owner = piece.owner;
    owner?.pieceDone(piece, errno);
    piece.owner = undefined;
    piece.buffer = undefined;
    if (this.#free.length < FREE_PIECES_MAX) this.#free.push(piece);
  }
}
