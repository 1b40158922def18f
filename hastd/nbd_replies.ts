/**
 * The replies of one NBD connection, encoded straight into the socket's output.
 *
 * @module
 */
import { strerror } from "../base/errno.ts";
import { invariant } from "../base/errors.ts";
import { NBD_ERROR, nbdErrorOf } from "../protocol/nbd.ts";
import {
  blockStatusChunkBytes,
  type Cookie,
  encodeBlockStatusChunk,
  encodeErrorChunk,
  encodeErrorOffsetChunk,
  encodeNoneChunk,
  encodeOffsetDataHeader,
  encodeSimpleReply,
  type Extent,
  NBD_ERROR_OFFSET_BYTES,
  NBD_OFFSET_DATA_BYTES,
  NBD_SIMPLE_REPLY_BYTES,
} from "../protocol/nbd_transmission.ts";
import type { Refusal } from "./nbd_check.ts";
import { NBD_META_CONTEXT_ID } from "./nbd_negotiation.ts";
import type { NbdOperation, NbdPiece } from "./nbd_operation.ts";
import type { OutputOwner } from "./output_queue.ts";
import type { IoBuffer } from "../core/ports.ts";

/** What replies need of a socket; `StreamSocket` has it. */
export interface ReplyOutput {
  reserve(byteCount: number): Uint8Array<ArrayBuffer>;
  readonly reservedAt: number;
  commit(byteCount: number): void;
  writeBuffer(
    buffer: IoBuffer,
    offsetBytes: number,
    byteCount: number,
    owner?: OutputOwner,
  ): boolean;
}

/** Writes replies in the form that the client has negotiated. */
export class NbdReplies {
  readonly #output: ReplyOutput;
  readonly #structured: boolean;
  readonly #messages = new Map<number, Uint8Array>();
  /** The output's memory as it was last seen, and as numbers. */
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #view: DataView<ArrayBuffer> = new DataView(this.#bytes.buffer);

  constructor(output: ReplyOutput, structured: boolean) {
    this.#output = output;
    this.#structured = structured;
  }

  /** Success of a request that has no data to return. */
  success(cookie: Cookie): void {
    const view = this.#reserve(NBD_SIMPLE_REPLY_BYTES + NBD_OFFSET_DATA_BYTES);
    const at = this.#output.reservedAt;
    this.#output.commit(
      this.#structured ? encodeNoneChunk(view, at, cookie) : encodeSimpleReply(view, at, cookie, 0),
    );
  }

  /** A request failed; `errno` is FreeBSD's. */
  failure(cookie: Cookie, errno: number): void {
    this.#error(cookie, failureOf(errno), this.#messageOf(errno));
  }

  /** A request is not carried out. */
  refusal(cookie: Cookie, { nbdError, message }: Refusal): void {
    this.#error(cookie, nbdError, message);
  }

  /** In front of the data of a READ that is answered in one. */
  dataHeader(operation: NbdOperation): void {
    this.#dataHeader(operation, operation.offsetBytes, operation.lengthBytes, true);
  }

  /** In front of the data of one piece of a READ; `done` says that nothing follows. */
  chunkHeader(operation: NbdOperation, piece: NbdPiece, done: boolean): void {
    const { offsetBytes, lengthBytes } = piece.request;
    this.#dataHeader(operation, offsetBytes, lengthBytes, done);
  }

  /** The data of a piece. Returns true if its buffer is free at once. */
  data(piece: NbdPiece): boolean {
    const { buffer, lengthBytes } = piece.request;
    invariant(buffer !== undefined, "the buffer of a READ stays the front's");
    return this.#output.writeBuffer(buffer, 0, lengthBytes, piece);
  }

  /** One piece of a READ in chunks failed. */
  pieceFailure(operation: NbdOperation, piece: NbdPiece, done: boolean): void {
    const { errno, offsetBytes } = piece.request;
    const message = this.#messageOf(errno);
    const view = this.#reserve(NBD_ERROR_OFFSET_BYTES + message.length);
    const error = { nbdError: failureOf(errno), message, offsetBytes, done };
    this.#output.commit(
      encodeErrorOffsetChunk(view, this.#output.reservedAt, operation, error),
    );
  }

  /** The answer to BLOCK_STATUS; only clients with structured replies ask. */
  blockStatus(cookie: Cookie, extents: readonly Extent[]): void {
    const view = this.#reserve(blockStatusChunkBytes(extents.length));
    const status = { contextId: NBD_META_CONTEXT_ID, extents };
    this.#output.commit(encodeBlockStatusChunk(view, this.#output.reservedAt, cookie, status));
  }

  #error(cookie: Cookie, nbdError: number, message: Uint8Array): void {
    const view = this.#reserve(NBD_ERROR_OFFSET_BYTES + message.length);
    const at = this.#output.reservedAt;
    this.#output.commit(
      this.#structured
        ? encodeErrorChunk(view, at, cookie, { nbdError, message })
        : encodeSimpleReply(view, at, cookie, nbdError),
    );
  }

  #dataHeader(cookie: Cookie, offsetBytes: number, dataBytes: number, done: boolean): void {
    const view = this.#reserve(NBD_OFFSET_DATA_BYTES);
    const at = this.#output.reservedAt;
    this.#output.commit(
      this.#structured
        ? encodeOffsetDataHeader(view, at, cookie, { offsetBytes, dataBytes, done })
        : encodeSimpleReply(view, at, cookie, 0),
    );
  }

  /** Room in the output; its chunks are few and come again, so a view is seldom made. */
  #reserve(byteCount: number): DataView<ArrayBuffer> {
    const bytes = this.#output.reserve(byteCount);
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    return this.#view;
  }

  #messageOf(errno: number): Uint8Array {
    let message = this.#messages.get(errno);
    if (message === undefined) {
      message = new TextEncoder().encode(strerror(errno));
      this.#messages.set(errno, message);
    }
    return message;
  }
}

/** ENOTSUP is only for FAST_ZERO, which is refused before it is tried; clients take it for EINVAL. */
function failureOf(errno: number): number {
  const nbdError = nbdErrorOf(errno);
  return nbdError === NBD_ERROR.enotsup ? NBD_ERROR.einval : nbdError;
}
