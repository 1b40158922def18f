/**
 * Metadata block at the start of a component, 4096 bytes written at once:
 *
 *   name-value entries  resource string, datasize u64, extentsize u32, keepdirty u32, offset u64,
 *                       resuid u64, localcnt u64, remotecnt u64, prevrole string
 *   a zero byte         ends the entries
 *   trailer             ours, at the next multiple of 8: "HASTsum1", u32le CRC-32 of the entries,
 *                       4 zero bytes
 *   zeros               to the end
 *
 * The original reads up to the zero byte and writes zeros behind it: a block without a trailer is
 * good, one with a wrong trailer was torn or damaged.
 *
 * Behind it lies the activemap, up to `offset`, then the data.
 *
 * Source: disk.md.
 * @module
 */
import { EX, HastError, invariant, messageOf, ProtocolError } from "../base/errors.ts";
import { activemapBytes, extentCountOf, EXTENTS_MAX } from "./activemap_layout.ts";
import { crc32 } from "./checksum.ts";
import { Nv } from "./nv.ts";
import { isAllZero } from "./payload.ts";

/** Size of the block; the activemap starts behind it. */
export const METADATA_BYTES = 4096;
/** Longest name of a resource, in bytes of UTF-8. */
export const RESOURCE_NAME_BYTES_MAX = 254;
/** Smallest extent: a sector. */
export const EXTENTSIZE_BYTES_MIN = 512;
/** Largest extent: the handshake has it as an int32. */
export const EXTENTSIZE_BYTES_MAX = 2 ** 30;

const SECTOR_BYTES_MIN = 512;
const TRAILER_BYTES = 16;
const TRAILER_MAGIC = new TextEncoder().encode("HASTsum1");
/** Some versions of FreeBSD wrote maps eight times too large; more than that is damage. */
const MAP_OVERSIZE_MAX = 8;
/** Sectors larger than this would exceed the limit above: none are. */
const SECTOR_BYTES_MAX = 1024 * 1024;

const encoder = new TextEncoder();

export type PreviousRole = "init" | "primary" | "secondary";

/** What a component says of itself. */
export interface Metadata {
  resource: string;
  /** Size of the data. */
  datasizeBytes: number;
  /** A power of two, 512 to 2^30. */
  extentsizeBytes: number;
  /** Extents that stay dirty after use; 0..2^32-1. */
  keepdirtyCount: number;
  /** Where the data starts; the activemap is what lies between the block and it. */
  dataOffsetBytes: number;
  /** Identity of the resource, 0 before the first primary has drawn it. */
  resuid: bigint;
  localcnt: bigint;
  remotecnt: bigint;
  prevrole: PreviousRole;
}

/** Why a block is no metadata. */
export type MetadataFault =
  /** Fields are missing, as before `hastctl create`. */
  | "absent"
  /** The entries are malformed. */
  | "invalid"
  /** The values contradict each other or the checksum: a torn write, or damage. */
  | "damaged"
  /** Sound, but such that this program does not take it. */
  | "unsupported";

/** The component's metadata cannot be used. */
export class MetadataError extends HastError {
  override name = "MetadataError";
  readonly fault: MetadataFault;
  constructor(fault: MetadataFault, message: string) {
    super(EX.noInput, message);
    this.fault = fault;
  }
}

/** Encodes the block, with its checksum. */
export function encodeMetadata(metadata: Metadata): Uint8Array<ArrayBuffer> {
  const nv = new Nv()
    .addString("resource", metadata.resource)
    .addU64("datasize", metadata.datasizeBytes)
    .addU32("extentsize", metadata.extentsizeBytes)
    .addU32("keepdirty", metadata.keepdirtyCount)
    .addU64("offset", metadata.dataOffsetBytes)
    .addU64("resuid", metadata.resuid)
    .addU64("localcnt", metadata.localcnt)
    .addU64("remotecnt", metadata.remotecnt)
    .addString("prevrole", metadata.prevrole);
  const entriesBytes = nv.encodedBytes;
  const trailerAt = trailerOffset(entriesBytes);
  invariant(trailerAt + TRAILER_BYTES <= METADATA_BYTES, "metadata fits its block");
  const block = new Uint8Array(METADATA_BYTES);
  nv.encodeInto(block, 0);
  const sum = crc32(block.subarray(0, entriesBytes));
  block.set(TRAILER_MAGIC, trailerAt);
  new DataView(block.buffer).setUint32(trailerAt + TRAILER_MAGIC.length, sum, true);
  return block;
}

/**
 * Decodes the block and checks its values against each other. Whether the component is large
 * enough, and belongs to the resource, is the caller's to check.
 *
 * @param block The first 4096 bytes of the component.
 * @throws {MetadataError} They are no metadata, or damaged.
 */
export function decodeMetadata(block: Uint8Array): Metadata {
  invariant(block.length === METADATA_BYTES, "metadata is read as a whole block");
  const { nv, entriesBytes } = decodeEntries(block);
  checkTrailer(block, entriesBytes);
  const metadata = readFields(nv);
  checkValues(metadata);
  return metadata;
}

/** Bytes of the activemap on disk. */
export function mapBytesOf(metadata: Pick<Metadata, "dataOffsetBytes">): number {
  return metadata.dataOffsetBytes - METADATA_BYTES;
}

function trailerOffset(entriesBytes: number): number {
  return Math.ceil((entriesBytes + 1) / 8) * 8; // One for the zero byte that ends the entries.
}

function decodeEntries(block: Uint8Array): { nv: Nv; entriesBytes: number } {
  try {
    return Nv.decodePrefix(block);
  } catch (error) {
    if (error instanceof ProtocolError) throw new MetadataError("invalid", error.message);
    throw error;
  }
}

function checkTrailer(block: Uint8Array, entriesBytes: number): void {
  const rest = block.subarray(entriesBytes);
  if (entriesBytes === 0 || isAllZero(rest)) return;
  const at = trailerOffset(entriesBytes);
  const sumAt = at + TRAILER_MAGIC.length;
  const isTrailer = at + TRAILER_BYTES <= METADATA_BYTES &&
    TRAILER_MAGIC.every((byte, index) => block[at + index] === byte) &&
    isAllZero(block.subarray(entriesBytes, at)) &&
    isAllZero(block.subarray(sumAt + 4));
  if (!isTrailer) damaged("there is something else behind its entries");
  const sum = new DataView(block.buffer, block.byteOffset + sumAt, 4).getUint32(0, true);
  if (sum !== crc32(block.subarray(0, entriesBytes))) damaged("its checksum is wrong");
}

function damaged(reason: string): never {
  throw new MetadataError("damaged", `Metadata block is damaged: ${reason}`);
}

function readFields(nv: Nv): Metadata {
  try {
    return {
      resource: required("resource", nv.string("resource")),
      datasizeBytes: required("datasize", nv.safeU64("datasize")),
      extentsizeBytes: required("extentsize", nv.u32("extentsize")),
      keepdirtyCount: required("keepdirty", nv.u32("keepdirty")),
      dataOffsetBytes: required("offset", nv.safeU64("offset")),
      resuid: required("resuid", nv.u64("resuid")),
      localcnt: required("localcnt", nv.u64("localcnt")),
      remotecnt: required("remotecnt", nv.u64("remotecnt")),
      prevrole: previousRole(required("prevrole", nv.string("prevrole"))),
    };
  } catch (error) {
    if (error instanceof ProtocolError) damaged(messageOf(error)); // A size beyond 2^53 - 1.
    throw error;
  }
}

function required<T>(field: string, value: T | undefined): T {
  if (value === undefined) throw new MetadataError("absent", `Metadata has no '${field}'`);
  return value;
}

function previousRole(role: string): PreviousRole {
  if (role === "init" || role === "primary" || role === "secondary") return role;
  return damaged(`unknown role '${role}'`);
}

function checkValues(metadata: Metadata): void {
  const { resource, datasizeBytes, extentsizeBytes, dataOffsetBytes } = metadata;
  const nameBytes = encoder.encode(resource).length;
  if (nameBytes < 1 || nameBytes > RESOURCE_NAME_BYTES_MAX) damaged(`name of ${nameBytes} bytes`);
  if (!isExtentSize(extentsizeBytes)) {
    const limits = `a power of two from ${EXTENTSIZE_BYTES_MIN} to ${EXTENTSIZE_BYTES_MAX}`;
    const message = `Extent size (${extentsizeBytes}) is not ${limits}: create the component again`;
    throw new MetadataError("unsupported", message);
  }
  if (datasizeBytes < 1) damaged("there is no room for data");
  if (!Number.isSafeInteger(dataOffsetBytes + datasizeBytes)) damaged("data ends beyond 2^53");
  if (dataOffsetBytes % SECTOR_BYTES_MIN !== 0) damaged(`data starts at ${dataOffsetBytes}`);
  checkMapBytes(metadata);
}

function checkMapBytes(metadata: Metadata): void {
  const extentCount = extentCountOf(metadata.datasizeBytes, metadata.extentsizeBytes);
  if (extentCount > EXTENTS_MAX) damaged(`${extentCount} extents`);
  const neededBytes = activemapBytes(extentCount);
  const mapBytes = mapBytesOf(metadata);
  if (mapBytes < neededBytes || mapBytes > MAP_OVERSIZE_MAX * neededBytes + SECTOR_BYTES_MAX) {
    damaged(`activemap of ${mapBytes} bytes for ${extentCount} extents`);
  }
}

function isExtentSize(bytes: number): boolean {
  return isPowerOfTwo(bytes) && bytes >= EXTENTSIZE_BYTES_MIN && bytes <= EXTENTSIZE_BYTES_MAX;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && value === 2 ** Math.round(Math.log2(value));
}

/** Where everything lies on a component. */
export interface ComponentLayout {
  /** `offset`: 4096 and the activemap. */
  dataOffsetBytes: number;
  datasizeBytes: number;
  /** Size of the activemap on disk. */
  mapBytes: number;
  extentCount: number;
}

/**
 * The layout that `hastctl create` gives a component. Both nodes must come to the same.
 *
 * @param mediasizeBytes What may be used of the component, metadata included.
 * @param extentsizeBytes A power of two, at least a sector and at most 1 GiB.
 * @param sectorBytes Of the device; 512 for a regular file.
 * @throws {HastError} With exit code 65: such a component cannot be.
 *
 * @example 16 MiB with the default extent size
 * ```ts
 * import { assertEquals } from "@std/assert";
 * const layout = layoutFor(16 * 1024 * 1024, 2 * 1024 * 1024, 512);
 * assertEquals(layout.dataOffsetBytes, 4608);
 * assertEquals(layout.datasizeBytes, 16772608);
 * ```
 */
export function layoutFor(
  mediasizeBytes: number,
  extentsizeBytes: number,
  sectorBytes: number,
): ComponentLayout {
  invariant(Number.isSafeInteger(mediasizeBytes) && mediasizeBytes >= 0, "a media size is safe");
  invariant(isPowerOfTwo(sectorBytes), "a sector size is a power of two");
  checkExtentSize(extentsizeBytes, sectorBytes);
  const extentCount = extentCountOf(Math.max(mediasizeBytes - METADATA_BYTES, 1), extentsizeBytes);
  if (extentCount > EXTENTS_MAX) {
    refuse(`Extent size (${extentsizeBytes}) is too small for ${mediasizeBytes} bytes.`);
  }
  const mapBytes = Math.ceil(activemapBytes(extentCount) / sectorBytes) * sectorBytes;
  const dataOffsetBytes = METADATA_BYTES + mapBytes;
  const datasizeBytes = mediasizeBytes - dataOffsetBytes;
  if (datasizeBytes < sectorBytes) {
    const neededBytes = dataOffsetBytes + sectorBytes;
    refuse(`Component is too small (${mediasizeBytes}): at least ${neededBytes} bytes are needed.`);
  }
  return { dataOffsetBytes, datasizeBytes, mapBytes, extentCount };
}

function checkExtentSize(extentsizeBytes: number, sectorBytes: number): void {
  const size = `Extent size (${extentsizeBytes})`;
  if (extentsizeBytes < sectorBytes) {
    refuse(`${size} is less than sector size (${sectorBytes}).`);
  }
  if (extentsizeBytes % sectorBytes !== 0) {
    refuse(`${size} is not multiple of sector size (${sectorBytes}).`);
  }
  if (!isPowerOfTwo(extentsizeBytes)) refuse(`${size} is not a power of two.`);
  if (extentsizeBytes > EXTENTSIZE_BYTES_MAX) {
    refuse(`${size} is more than ${EXTENTSIZE_BYTES_MAX}.`);
  }
}

function refuse(message: string): never {
  throw new HastError(EX.dataErr, message);
}
