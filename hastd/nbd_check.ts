/**
 * Which NBD requests are refused at once, and with which error.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Command flags", "Request types",
 * "Error values"; nbd.md.
 * @module
 */
import { USER_REQUEST_BYTES_MAX } from "../core/request.ts";
import { NBD_CMD, NBD_CMD_FLAG, NBD_ERROR } from "../protocol/nbd.ts";
import type { NbdRequestHeader } from "../protocol/nbd_transmission.ts";

/** Why a request is refused; the message goes to clients that take structured replies. */
export interface Refusal {
  readonly nbdError: number;
  readonly message: Uint8Array;
}

/** What a request is measured against. */
export interface RequestRules {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** What the client has negotiated. */
  readonly structuredReplies: boolean;
  readonly metaContextSet: boolean;
  /** WRITE_ZEROES with FAST_ZERO is served: faster than a write, and never by writing. */
  readonly fastZero: boolean;
}

/** The provider goes away. */
export const REFUSED_SHUTDOWN = refusal(NBD_ERROR.eshutdown, "The server is being shut down.");

const UNKNOWN_COMMAND = refusal(NBD_ERROR.einval, "Unknown command.");
const UNKNOWN_FLAGS = refusal(NBD_ERROR.einval, "A flag does not belong to this command.");
const NOT_EMPTY = refusal(NBD_ERROR.einval, "Offset and length of a flush must be zero.");
const NO_CONTEXT = refusal(NBD_ERROR.einval, "No metadata context was selected.");
const EMPTY = refusal(NBD_ERROR.einval, "The length must not be zero.");
const BEYOND_END = refusal(NBD_ERROR.einval, "The range ends beyond the export.");
const WRITE_BEYOND_END = refusal(NBD_ERROR.enospc, "The range ends beyond the export.");
const UNALIGNED = refusal(NBD_ERROR.einval, "Offset and length must be whole sectors.");
const TOO_LONG = refusal(NBD_ERROR.einval, "More than 32 MiB in one request.");
const READ_TOO_LONG = refusal(NBD_ERROR.eoverflow, "More than 32 MiB in one request.");
const NOT_FAST = refusal(NBD_ERROR.enotsup, "Zeroing would not be faster than writing.");

/**
 * Checks everything but DISC, which has no reply.
 *
 * @returns undefined for a request that can be carried out: its range is not empty, whole sectors
 * and within the export (FLUSH: none), data at most 32 MiB.
 */
export function checkRequest(header: NbdRequestHeader, rules: RequestRules): Refusal | undefined {
  const { command, flags } = header;
  const allowed = allowedFlags(command, rules.structuredReplies);
  if (allowed === undefined) return UNKNOWN_COMMAND;
  if ((flags & ~allowed) !== 0) return UNKNOWN_FLAGS;
  if (command === NBD_CMD.flush) {
    return header.offsetBytes === 0 && header.lengthBytes === 0 ? undefined : NOT_EMPTY;
  }
  if (command === NBD_CMD.blockStatus && !rules.metaContextSet) return NO_CONTEXT;
  return checkRange(header, rules) ?? checkSize(header, rules);
}

function checkRange(header: NbdRequestHeader, rules: RequestRules): Refusal | undefined {
  const { command, offsetBytes, lengthBytes } = header;
  if (lengthBytes === 0) return EMPTY;
  if (offsetBytes + lengthBytes > rules.sizeBytes) {
    const writes = command === NBD_CMD.write || command === NBD_CMD.writeZeroes;
    return writes ? WRITE_BEYOND_END : BEYOND_END;
  }
  const aligned = offsetBytes % rules.sectorBytes === 0 && lengthBytes % rules.sectorBytes === 0;
  return aligned ? undefined : UNALIGNED;
}

function checkSize(header: NbdRequestHeader, rules: RequestRules): Refusal | undefined {
  const { command, flags, lengthBytes } = header;
  const tooLong = lengthBytes > USER_REQUEST_BYTES_MAX;
  if (command === NBD_CMD.read && tooLong) {
    return rules.structuredReplies ? READ_TOO_LONG : TOO_LONG;
  }
  if (command === NBD_CMD.write && tooLong) return TOO_LONG;
  if (command === NBD_CMD.writeZeroes && (flags & NBD_CMD_FLAG.fastZero) !== 0) {
    // Without holes zeros have to be written.
    return rules.fastZero && (flags & NBD_CMD_FLAG.noHole) === 0 ? undefined : NOT_FAST;
  }
  return undefined;
}

/** FUA goes with every command: clients are known to set it everywhere. */
function allowedFlags(command: number, structuredReplies: boolean): number | undefined {
  const { fua, df, noHole, fastZero, reqOne } = NBD_CMD_FLAG;
  switch (command) {
    case NBD_CMD.read:
      return structuredReplies ? fua | df : fua;
    case NBD_CMD.write:
    case NBD_CMD.flush:
    case NBD_CMD.trim:
    case NBD_CMD.cache:
      return fua;
    case NBD_CMD.writeZeroes:
      return fua | noHole | fastZero;
    case NBD_CMD.blockStatus:
      return fua | reqOne;
    default:
      return undefined;
  }
}

function refusal(nbdError: number, text: string): Refusal {
  return { nbdError, message: new TextEncoder().encode(text) };
}
