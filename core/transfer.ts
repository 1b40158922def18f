/**
 * One user request, or a part of it, on its way through both components.
 *
 * A transfer counts the answers that are still missing and says when the user may be told, and
 * when it is over. It decides nothing about links or maps: `core/request_path.ts` does.
 *
 * Source: replication.md (where a request goes).
 * @module
 */
import type { ReplicationMode } from "../conf/config.ts";
import type { StaleSide } from "./activemap.ts";
import {
  type DiskJob,
  DiskOp,
  type IoBuffer,
  type PeerLink,
  RemoteCommand,
  type RemoteRequest,
} from "./ports.ts";
import { LockedRange } from "./range_lock.ts";
import type { UserRequest } from "./request.ts";
import type { CountedKind } from "./statistics.ts";

/** What is sent to the other node for one transfer: as many pieces as the peer's limit asks for. */
export class RemotePiece implements RemoteRequest {
  command = RemoteCommand.read;
  seq = 0;
  offsetBytes = 0;
  lengthBytes = 0;
  memsync = false;
  buffer: IoBuffer | undefined = undefined;
  bufferOffsetBytes = 0;
  zeros = false;
  /** memsync: the first of the two replies has come. */
  received = false;
  owner: PieceOwner | undefined = undefined;
}

/** Whoever waits for the replies to a piece. */
export interface PieceOwner {
  /** The peer has the data of this piece in memory (memsync). */
  pieceReceived(piece: RemotePiece): void;
  /** The final reply: 0 or an errno; ENOTCONN where the link was lost. */
  pieceDone(piece: RemotePiece, errno: number): void;
}

/** What is done when something about a transfer has changed. */
export interface TransferObserver {
  /** The range lock was granted after a wait. */
  lockGranted(transfer: Transfer): void;
  /** The local part is over. */
  localDone(transfer: Transfer): void;
  /** A piece has been received or is over. */
  remoteProgress(transfer: Transfer): void;
}

export type TransferKind = "read" | "write" | "delete" | "zero" | "flush";

export function countedKind(kind: TransferKind): CountedKind {
  return kind === "zero" ? "write" : kind;
}

/** See the module. Also the job that goes to the local component. */
export class Transfer extends LockedRange implements DiskJob, PieceOwner {
  readonly #observer: TransferObserver;
  kind: TransferKind = "read";
  mode: ReplicationMode = "fullsync";
  /** Who is told; undefined once told, or for a flush of our own. */
  user: UserRequest | undefined = undefined;
  /** Bytes of the data; `offsetBytes` is where the job lies in the component. */
  dataOffsetBytes = 0;
  lengthBytes = 0;
  op = DiskOp.read;
  offsetBytes = 0;
  buffer: IoBuffer | undefined = undefined;
  bufferOffsetBytes = 0;
  /** Announced to the activemap: `end` is owed. */
  begun = false;
  localPending = false;
  localErrno = 0;
  /** A local part was asked for. */
  localUsed = false;
  link: PeerLink | undefined = undefined;
  piecesPending = 0;
  /** memsync: pieces whose data the peer does not have yet. */
  piecesUnreceived = 0;
  /** Bytes of a large zero or delete that are still to be sent to the peer. */
  unsentBytes = 0;
  remoteErrno = 0;
  /** A remote part was asked for. */
  remoteUsed = false;
  /** The user has been told, or there is none. */
  acknowledged = false;
  /** Waits for the counters of one node to be durable before the user is told. */
  awaitsCounters = false;
  /** Which side has been marked to lack it; each failure is marked once. */
  markedSide: StaleSide | undefined = undefined;
  /** Follows the flush of both nodes for the activemap. */
  tracksFlush = false;
  /** What it adds to the bytes that async leaves unanswered. */
  backlogBytes = 0;

  constructor(observer: TransferObserver) {
    super();
    this.#observer = observer;
  }

  /** Makes a used object as good as new. */
  reset(): void {
    this.kind = "read";
    this.user = undefined;
    this.buffer = undefined;
    this.bufferOffsetBytes = 0;
    this.begun = false;
    this.localPending = false;
    this.localErrno = 0;
    this.localUsed = false;
    this.link = undefined;
    this.piecesPending = 0;
    this.piecesUnreceived = 0;
    this.unsentBytes = 0;
    this.remoteErrno = 0;
    this.remoteUsed = false;
    this.acknowledged = false;
    this.awaitsCounters = false;
    this.markedSide = undefined;
    this.tracksFlush = false;
    this.backlogBytes = 0;
  }

  get remotePending(): boolean {
    return this.piecesPending > 0 || this.unsentBytes > 0;
  }

  get over(): boolean {
    return !this.localPending && !this.remotePending;
  }

  /** Whether the other node holds the data for good. */
  get remoteSucceeded(): boolean {
    return this.remoteUsed && !this.remotePending && this.remoteErrno === 0;
  }

  get localSucceeded(): boolean {
    return this.localUsed && !this.localPending && this.localErrno === 0;
  }

  /**
   * Whether enough answers are there for the user to be told.
   *
   * fullsync: both are over. memsync: the local part is over and the peer has the data. async:
   * the local part is over. If the local part failed, the remote one decides.
   */
  get decided(): boolean {
    if (this.localPending) return false;
    if (!this.localSucceeded) return !this.remotePending;
    if (!this.remoteUsed || this.remoteErrno !== 0 || this.mode === "async") return true;
    const onReceipt = this.mode === "memsync" && (this.kind === "write" || this.kind === "zero");
    return onReceipt ? this.piecesUnreceived === 0 && this.unsentBytes === 0 : !this.remotePending;
  }

  /** Changes data, so that the nodes differ if only one side has done it. */
  get changesData(): boolean {
    return this.kind === "write" || this.kind === "zero" || this.kind === "delete";
  }

  /** The other node was not asked, or has failed. */
  get peerLacksIt(): boolean {
    return !this.remoteUsed || this.remoteErrno !== 0;
  }

  /** The result for the user once {@link decided}: an error only if every component failed. */
  get result(): number {
    if (this.localSucceeded || this.remoteSucceeded) return 0;
    return this.localErrno !== 0 ? this.localErrno : this.remoteErrno;
  }

  override granted(): void {
    this.#observer.lockGranted(this);
  }

  diskDone(errno: number): void {
    this.localPending = false;
    this.localErrno = errno;
    this.#observer.localDone(this);
  }

  pieceReceived(piece: RemotePiece): void {
    if (piece.received) return;
    piece.received = true;
    this.piecesUnreceived--;
    this.#observer.remoteProgress(this);
  }

  pieceDone(piece: RemotePiece, errno: number): void {
    if (!piece.received) this.piecesUnreceived--;
    this.piecesPending--;
    if (errno !== 0 && this.remoteErrno === 0) this.remoteErrno = errno;
    this.#observer.remoteProgress(this);
  }

  /** For messages. */
  override toString(): string {
    if (this.kind === "flush") return "FLUSH";
    const command = countedKind(this.kind).toUpperCase();
    return `${command}(${this.dataOffsetBytes}, ${this.lengthBytes})`;
  }
}
