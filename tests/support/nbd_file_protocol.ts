/**
 * What the two threads of `nbd_file_server.ts` say to each other.
 * @module
 */

/**
 * What the main thread tells the data thread, by a shared array: word 0 is the count of what was
 * told so far, the others are a ring of descriptors.
 */
export const RING_WORDS = 1024;
/** Told in place of a descriptor. */
export const SHUTDOWN = -1;

/** The only message to this thread. */
export interface Start {
  path: string;
  name: string;
  ring: SharedArrayBuffer;
  /** Readable when something was told. */
  pipeReadFd: number;
}
