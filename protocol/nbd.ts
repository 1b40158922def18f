/**
 * The numbers of the NBD protocol, and the translation of errors into NBD's.
 *
 * Byte layouts: `nbd_handshake.ts` (negotiation) and `nbd_transmission.ts` (requests, replies).
 * All integers on the wire are big-endian.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Values"; nbd.md.
 * @module
 */
import { ERRNO } from "../base/errno.ts";

/** Flags of the greeting (server) and of the answer to it (client). */
export const NBD_HANDSHAKE_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** Options of the negotiation. */
export const NBD_OPT = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

/** Types of the replies to options; errors have bit 31 set. */
export const NBD_REP = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsup: 0x80000001,
  errPolicy: 0x80000002,
  errInvalid: 0x80000003,
  errPlatform: 0x80000004,
  errTlsReqd: 0x80000005,
  errUnknown: 0x80000006,
  errShutdown: 0x80000007,
  errBlockSizeReqd: 0x80000008,
  errTooBig: 0x80000009,
} as const;

/** What INFO and GO can tell about an export. */
export const NBD_INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** Transmission flags: what an export can do. */
export const NBD_FLAG = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  rotational: 1 << 4,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const;

/** Commands of the transmission phase. */
export const NBD_CMD = {
  read: 0,
  write: 1,
  disc: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

/** Flags of a command. */
export const NBD_CMD_FLAG = {
  fua: 1 << 0,
  noHole: 1 << 1,
  df: 1 << 2,
  reqOne: 1 << 3,
  fastZero: 1 << 4,
} as const;

/** Flag of a structured reply chunk: the last one of its reply. */
export const NBD_REPLY_FLAG_DONE = 1;

/** Types of structured reply chunks; errors have bit 15 set. */
export const NBD_REPLY_TYPE = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** Flags of an extent of the context `base:allocation`. */
export const NBD_STATE = { hole: 1, zero: 2 } as const;

/** Error numbers of NBD. */
export const NBD_ERROR = {
  none: 0,
  eperm: 1,
  eio: 5,
  enomem: 12,
  einval: 22,
  enospc: 28,
  eoverflow: 75,
  enotsup: 95,
  eshutdown: 108,
} as const;

/** Longest string of the protocol (names, queries, messages), in bytes. */
export const NBD_STRING_BYTES_MAX = 4096;

const NBD_ERROR_OF: ReadonlyMap<number, number> = new Map([
  [0, NBD_ERROR.none],
  [ERRNO.EPERM, NBD_ERROR.eperm],
  [ERRNO.EACCES, NBD_ERROR.eperm],
  [ERRNO.EROFS, NBD_ERROR.eperm],
  [ERRNO.ENOMEM, NBD_ERROR.enomem],
  [ERRNO.ENOBUFS, NBD_ERROR.enomem],
  [ERRNO.EINVAL, NBD_ERROR.einval],
  [ERRNO.ENOSPC, NBD_ERROR.enospc],
  [ERRNO.EDQUOT, NBD_ERROR.enospc],
  [ERRNO.EFBIG, NBD_ERROR.enospc],
  [ERRNO.EOVERFLOW, NBD_ERROR.eoverflow],
  [ERRNO.EOPNOTSUPP, NBD_ERROR.enotsup],
  [ERRNO.ENOTTY, NBD_ERROR.enotsup],
  [ERRNO.ESHUTDOWN, NBD_ERROR.eshutdown],
]);

/**
 * NBD's number for a result of ours: what has no number of its own is EIO.
 *
 * @param errno 0 or a FreeBSD errno.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(nbdErrorOf(45), 95); // EOPNOTSUPP
 * assertEquals(nbdErrorOf(6), 5); // ENXIO has no number of its own
 * ```
 */
export function nbdErrorOf(errno: number): number {
  return NBD_ERROR_OF.get(errno) ?? NBD_ERROR.eio;
}
