/**
 * One NBD connection: takes the client's stream apart and has its requests carried out.
 *
 * It stops receiving while the client has too many requests or unread replies, or while there is
 * no memory for the next one, and goes on when that has changed: {@link NbdConnection.run}.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Transmission"; nbd.md.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { NBD_CMD, NBD_CMD_FLAG } from "../protocol/nbd.ts";
import { encodeGreeting } from "../protocol/nbd_handshake.ts";
import {
  decodeRequest,
  type Extent,
  NBD_REQUEST_BYTES,
  NbdRequestHeader,
} from "../protocol/nbd_transmission.ts";
import { checkRequest, type Refusal, REFUSED_SHUTDOWN, type RequestRules } from "./nbd_check.ts";
import { NbdExecutor, type NbdShared } from "./nbd_executor.ts";
import { type NbdExport, NbdNegotiation } from "./nbd_negotiation.ts";
import type { NbdOperation, NbdPiece } from "./nbd_operation.ts";
import { NbdReplies } from "./nbd_replies.ts";
import type { Task } from "./reactor.ts";
import type { StreamHandler, StreamSocket } from "./stream_socket.ts";

/** Most requests of one connection without their reply; the next is left unread. */
export const NBD_REQUESTS_IN_FLIGHT_MAX = 256;
/** Most extents in the answer to BLOCK_STATUS. */
export const NBD_EXTENTS_MAX = 4096;
/** A payload up to this size is taken from the input, larger ones go by it where possible. */
const SMALL_PAYLOAD_BYTES = 16 * 1024;
/** Longest extent, below 4 GiB and whole sectors of any size. */
const EXTENT_BYTES_MAX = 2 ** 32 - 65536;

/** Whom a connection belongs to: `FrontNbd`. */
export interface ConnectionOwner {
  readonly offered: NbdExport;
  readonly shared: NbdShared;
  readonly shuttingDown: boolean;
  /** Has `task.run` called soon, from the loop. */
  queueTask(task: Task): void;
  /** A piece was completed or sent. */
  progressed(): void;
  /** The connection is over; its socket is closed. */
  connectionClosed(connection: NbdConnection): void;
}

/**
 * negotiation: `NbdNegotiation` has the stream; header: the next request; payload: of a WRITE that
 * is carried out; discard: of one that is not; ending: nothing more is taken; closed.
 */
type Phase = "negotiation" | "header" | "payload" | "discard" | "ending" | "closed";

/** See the module. */
export class NbdConnection implements StreamHandler, Task {
  readonly #owner: ConnectionOwner;
  readonly #stream: StreamSocket;
  readonly #negotiation: NbdNegotiation;
  readonly #header = new NbdRequestHeader();
  #phase: Phase = "negotiation";
  #rules: RequestRules;
  #replies: NbdReplies;
  #executor: NbdExecutor;
  #taskQueued = false;
  /** Set while receiving waits for {@link run}. */
  #blocked = false;
  /** The WRITE whose payload comes, and the part of it that is being received. */
  #writing: NbdOperation | undefined = undefined;
  #writingPiece: NbdPiece | undefined = undefined;
  #receivingBody = false;
  /** The refused WRITE whose payload is thrown away. */
  #discardBytes = 0;
  #refusal: Refusal = REFUSED_SHUTDOWN;

  /** @param open Makes the socket with this object as its handler. */
  constructor(owner: ConnectionOwner, open: (handler: StreamHandler) => StreamSocket) {
    this.#owner = owner;
    this.#stream = open(this);
    this.#negotiation = new NbdNegotiation(owner.offered, (bytes) => this.#stream.write(bytes));
    this.#rules = this.#rulesNow();
    this.#replies = new NbdReplies(this.#stream, false);
    this.#executor = this.#newExecutor(false);
    this.#stream.write(encodeGreeting());
    if (owner.shuttingDown) this.#negotiation.shutdown();
  }

  get negotiating(): boolean {
    return this.#phase === "negotiation";
  }

  /** Bytes of buffers that the client keeps busy. */
  get heldBytes(): number {
    return this.#executor.heldBytes;
  }

  /** The target has nothing of this connection: whatever it holds waits for the client. */
  get waitsForClient(): boolean {
    return this.#executor.underWayCount === 0;
  }

  /** Bytes received and sent so far: a client that does its part makes them grow. */
  get movedBytes(): number {
    return this.#stream.receivedBytes + this.#stream.sentBytes;
  }

  /** The provider goes away: what is not with the target yet is answered with ESHUTDOWN. */
  shutdown(): void {
    this.#negotiation.shutdown();
    if (this.#writing !== undefined) this.#executor.failWrite(this.#writing, ERRNO.ESHUTDOWN);
    this.#executor.abort();
    this.#wake();
  }

  /** Takes nothing more, and ends when everything is answered and sent. */
  end(): void {
    if (this.#phase === "closed") return;
    this.#phase = "ending";
    this.#stream.pauseReading(); // For good: nothing is received into a body after this.
    this.#abandonWrite();
    this.#endIfAnswered();
  }

  /** Ends the connection now. */
  close(): void {
    this.#stream.close();
    this.closed();
  }

  // ---- events ----

  received(): void {
    this.#pump();
  }

  drained(): void {
    this.#wake();
  }

  closed(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#executor.close();
    this.#abandonWrite();
    this.#owner.connectionClosed(this);
  }

  /** Goes on after something has changed. */
  run(): void {
    this.#taskQueued = false;
    if (this.#phase === "closed") return;
    this.#executor.resume();
    if (this.#phase === "ending") return this.#endIfAnswered();
    this.#pump();
    if (this.#blocked) return;
    this.#stream.resumeReading();
  }

  /** A piece was completed or sent: is that what is waited for? */
  readonly #progressed = (): void => {
    if (this.#blocked || this.#executor.hasUnfinished || this.#phase === "ending") this.#wake();
    this.#owner.progressed();
  };

  #wake(): void {
    if (this.#taskQueued || this.#phase === "closed") return;
    this.#taskQueued = true;
    this.#owner.queueTask(this);
  }

  // ---- input ----

  /** Takes as much of the input as can be taken now. */
  #pump(): void {
    this.#blocked = false;
    while (!this.#blocked && this.#step());
    if (this.#blocked) this.#stream.pauseReading();
  }

  /** One step; returns false when more input is needed. */
  #step(): boolean {
    switch (this.#phase) {
      case "negotiation":
        return this.#negotiate();
      case "header":
        return this.#takeHeader();
      case "payload":
        return this.#takePayload();
      case "discard":
        return this.#discard();
      case "ending":
      case "closed":
        return false;
    }
  }

  #negotiate(): boolean {
    const { input, start, end } = this.#stream;
    this.#stream.consume(this.#negotiation.receive(input.subarray(start, end)));
    const { state, structuredReplies } = this.#negotiation;
    if (state === "closed") this.end();
    if (state !== "transmission") return false;
    this.#phase = "header";
    this.#rules = this.#rulesNow();
    this.#replies = new NbdReplies(this.#stream, structuredReplies);
    this.#executor = this.#newExecutor(structuredReplies);
    return true;
  }

  #takeHeader(): boolean {
    const { start, end } = this.#stream;
    if (end - start < NBD_REQUEST_BYTES) return false;
    if (
      this.#stream.congested || this.#executor.starved ||
      this.#executor.operationCount >= NBD_REQUESTS_IN_FLIGHT_MAX
    ) {
      this.#blocked = true;
      return false;
    }
    if (!decodeRequest(this.#stream.inputView, start, this.#header)) {
      this.close(); // Out of step: what follows cannot be told apart.
      return false;
    }
    this.#stream.consume(NBD_REQUEST_BYTES);
    this.#begin(this.#header);
    return true;
  }

  #begin(header: NbdRequestHeader): void {
    if (header.command === NBD_CMD.disc) return this.end();
    const refusal = this.#owner.shuttingDown ? REFUSED_SHUTDOWN : checkRequest(header, this.#rules);
    if (refusal !== undefined) return this.#refuse(header, refusal);
    switch (header.command) {
      case NBD_CMD.write:
        this.#writing = this.#executor.beginWrite(header);
        this.#phase = "payload";
        return;
      case NBD_CMD.cache:
        this.#owner.shared.target.cache?.(header.offsetBytes, header.lengthBytes);
        return this.#replies.success(header);
      case NBD_CMD.blockStatus:
        return this.#replies.blockStatus(header, this.#blockStatus(header));
      default:
        return this.#executor.begin(header);
    }
  }

  #refuse(header: NbdRequestHeader, refusal: Refusal): void {
    if (header.command !== NBD_CMD.write || header.lengthBytes === 0) {
      return this.#replies.refusal(header, refusal);
    }
    this.#refusal = refusal;
    this.#discardBytes = header.lengthBytes;
    this.#phase = "discard";
  }

  #discard(): boolean {
    const thereBytes = this.#stream.end - this.#stream.start;
    const takenBytes = Math.min(thereBytes, this.#discardBytes);
    this.#stream.consume(takenBytes);
    this.#discardBytes -= takenBytes;
    if (this.#discardBytes > 0) return false;
    this.#replies.refusal(this.#header, this.#refusal);
    this.#phase = "header";
    return true;
  }

  #takePayload(): boolean {
    const operation = this.#writing;
    if (operation === undefined || this.#receivingBody) return false;
    const thereBytes = this.#stream.end - this.#stream.start;
    // One receive call brings many small ones; receiving the rest of one by itself costs more.
    if (operation.lengthBytes <= SMALL_PAYLOAD_BYTES && thereBytes < operation.lengthBytes) {
      return false;
    }
    while (operation.leftBytes > 0 || this.#writingPiece !== undefined) {
      this.#writingPiece ??= this.#executor.nextWritePiece(operation);
      const { buffer, lengthBytes } = this.#writingPiece?.request ?? {};
      if (buffer === undefined || lengthBytes === undefined) {
        this.#blocked = true;
        return false;
      }
      if (!this.#stream.readInto(buffer, 0, lengthBytes, this.#bodyDone)) {
        this.#receivingBody = true;
        return false;
      }
      this.#pieceReceived(operation);
    }
    this.#writing = undefined;
    this.#phase = "header";
    this.#executor.endWrite(operation);
    return true;
  }

  readonly #bodyDone = (): void => {
    this.#receivingBody = false;
    if (this.#writing !== undefined) this.#pieceReceived(this.#writing);
    this.#pump();
  };

  #pieceReceived(operation: NbdOperation): void {
    const piece = this.#writingPiece;
    this.#writingPiece = undefined;
    if (piece !== undefined) this.#executor.submitWritePiece(operation, piece);
  }

  /** The rest of a payload is not waited for any longer. */
  #abandonWrite(): void {
    const operation = this.#writing;
    const piece = this.#writingPiece;
    this.#writing = undefined;
    this.#writingPiece = undefined;
    this.#receivingBody = false;
    if (piece !== undefined) this.#executor.dropPiece(piece);
    if (operation === undefined) return;
    this.#executor.failWrite(operation, ERRNO.ESHUTDOWN);
    this.#executor.endWrite(operation);
  }

  // ---- the rest ----

  #blockStatus(header: NbdRequestHeader): Extent[] {
    const { flags, offsetBytes, lengthBytes } = header;
    const { target } = this.#owner.shared;
    const wantedBytes = Math.min(lengthBytes, EXTENT_BYTES_MAX);
    const countMax = (flags & NBD_CMD_FLAG.reqOne) !== 0 ? 1 : NBD_EXTENTS_MAX;
    const extents = target.blockStatus?.(offsetBytes, wantedBytes, countMax);
    return extents ?? [{ lengthBytes: wantedBytes, state: 0 }];
  }

  #endIfAnswered(): void {
    if (this.#executor.operationCount === 0) this.#stream.finish();
  }

  #rulesNow(): RequestRules {
    const { sizeBytes, sectorBytes, fastZero } = this.#owner.shared.target;
    const { structuredReplies, metaContextSet } = this.#negotiation;
    return { sizeBytes, sectorBytes, fastZero, structuredReplies, metaContextSet };
  }

  #newExecutor(structured: boolean): NbdExecutor {
    const progressed = this.#progressed;
    return new NbdExecutor(this.#owner.shared, this.#replies, { structured, progressed });
  }
}
