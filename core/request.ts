/**
 * One request of a user of the provider (NBD client, GEOM Gate), as the front hands it to
 * `core/primary.ts`.
 * @module
 */
import type { IoBuffer } from "./ports.ts";

/** What the user asks for. */
export const enum UserCommand {
  read = 1,
  write = 2,
  /** Discard (TRIM, BIO_DELETE): the user no longer needs the content. */
  delete = 3,
  flush = 4,
  /** Write zeros; no data buffer. */
  zero = 5,
}

/**
 * A front keeps these objects and uses them again: it fills in the public fields and submits the
 * request; it must leave the object and its buffer alone until `completed` is called with it.
 * The buffer of a write belongs to the core from then on: it may still be on its way to the other
 * node when the write is reported done, and the core gives it back to the pool when it is not.
 * The buffer of a read stays the front's.
 * `offsetBytes` and `lengthBytes` are multiples of the sector size and within the media: the
 * front has checked that.
 */
export class UserRequest {
  command: UserCommand = UserCommand.read;
  offsetBytes = 0;
  /** 0 for flush; read and write at most {@link USER_REQUEST_BYTES_MAX}; others up to 4 GiB. */
  lengthBytes = 0;
  /** write, zero, delete: on stable storage of both nodes before it is reported done. */
  fua = false;
  /** Data of read and write; undefined after a write has completed. */
  buffer: IoBuffer | undefined = undefined;
  bufferOffsetBytes = 0;
  /** The result, once completed: 0 or a FreeBSD errno. */
  errno = 0;
  /** Called once, when the request may be reported done. It must not submit from inside. */
  readonly completed: (request: UserRequest) => void;

  constructor(completed: (request: UserRequest) => void) {
    this.completed = completed;
  }
}

/** Largest read or write of a user. */
export const USER_REQUEST_BYTES_MAX = 32 * 1024 * 1024;
