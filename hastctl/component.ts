/**
 * The two things hastctl does to a component itself: initialise it, and read its metadata.
 *
 * Source: disk.md.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import { SystemError } from "../base/system_error.ts";
import { type Component, flush, readAt, writeAt } from "../ffi/block_device.ts";
import { mapPages, type Pages, releasePages } from "../ffi/memory.ts";
import {
  type ComponentLayout,
  decodeMetadata,
  encodeMetadata,
  layoutFor,
  type Metadata,
  METADATA_BYTES,
  MetadataError,
} from "../protocol/metadata.ts";

const EXTENTSIZE_DEFAULT_BYTES = 2n * 1024n * 1024n;
/** It travels as an int32 in the handshake. */
const EXTENTSIZE_MAX_BYTES = 1n << 30n;
const KEEPDIRTY_DEFAULT_COUNT = 64;
/** The activemap is cleared in pieces of this size. */
const ZERO_CHUNK_BYTES = 1024 * 1024;

/** What is wanted of a new component; 0 means the default. */
export interface ComponentWishes {
  /** `-e`. */
  extentSizeBytes: bigint;
  /** `-k`; -1 means no limit. */
  keepdirtyCount: number;
  /** `-m`, metadata included. */
  mediaSizeBytes: bigint;
}

/**
 * Divides a component. Both nodes must come to the same size of the data.
 *
 * @throws {HastError} Exit code 65: the sizes do not fit each other.
 */
export function planComponent(
  component: Pick<Component, "path" | "sizeBytes" | "sectorSizeBytes">,
  wishes: ComponentWishes,
): { layout: ComponentLayout; extentSizeBytes: number } {
  const extentSizeBytes = extentSizeOf(wishes);
  const mediaSizeBytes = mediaSizeOf(component, wishes);
  const layout = layoutFor(mediaSizeBytes, extentSizeBytes, component.sectorSizeBytes);
  return { layout, extentSizeBytes };
}

function mediaSizeOf(
  { path, sizeBytes }: Pick<Component, "path" | "sizeBytes">,
  { mediaSizeBytes }: ComponentWishes,
): number {
  if (mediaSizeBytes === 0n) return sizeBytes;
  if (mediaSizeBytes < 0n) refuse(`Media size (${mediaSizeBytes}) is negative.`);
  if (mediaSizeBytes > BigInt(sizeBytes)) {
    refuse(`Media size (${mediaSizeBytes}) is larger than ${path} (${sizeBytes}).`);
  }
  return Number(mediaSizeBytes);
}

function extentSizeOf({ extentSizeBytes }: ComponentWishes): number {
  const wanted = extentSizeBytes === 0n ? EXTENTSIZE_DEFAULT_BYTES : extentSizeBytes;
  if (wanted > EXTENTSIZE_MAX_BYTES) {
    refuse(`Extent size (${wanted}) is larger than the limit (${EXTENTSIZE_MAX_BYTES}).`);
  }
  return Number(wanted);
}

function refuse(message: string): never {
  throw new HastError(EX.dataErr, message);
}

/**
 * Makes `component` a new component of the resource `name`.
 *
 * A crash at any moment leaves a component without metadata or a complete one, never old metadata
 * beside a map that has forgotten what was dirty.
 *
 * @throws {HastError} Exit code 65: the sizes do not fit; 74: it cannot be written.
 */
export function initialiseComponent(
  component: Component,
  name: string,
  wishes: ComponentWishes,
): void {
  const { layout, extentSizeBytes } = planComponent(component, wishes);
  const metadata = encodeMetadata({
    resource: name,
    datasizeBytes: layout.datasizeBytes,
    extentsizeBytes: extentSizeBytes,
    keepdirtyCount: (wishes.keepdirtyCount || KEEPDIRTY_DEFAULT_COUNT) >>> 0,
    dataOffsetBytes: layout.dataOffsetBytes,
    resuid: 0n,
    localcnt: 0n,
    remotecnt: 0n,
    prevrole: "init",
  });
  withPages(ZERO_CHUNK_BYTES, (pages) => {
    writeMetadata(component, pages); // Zeros.
    clearMap(component, layout.mapBytes, pages);
    pages.bytes.set(metadata);
    writeMetadata(component, pages);
  });
}

function withPages<T>(byteCount: number, use: (pages: Pages) => T): T {
  const pages = mapPages(byteCount);
  try {
    return use(pages);
  } finally {
    releasePages(pages);
  }
}

function writeMetadata({ fd, path }: Component, pages: Pages): void {
  const errno = writeAt(fd, pages.address, METADATA_BYTES, 0) || flush(fd);
  if (errno !== 0) throw ioError(errno, "write", `Unable to write metadata to ${path}`);
}

function clearMap({ fd, path }: Component, mapBytes: number, zeros: Pages): void {
  for (let done = 0; done < mapBytes; done += ZERO_CHUNK_BYTES) {
    const byteCount = Math.min(mapBytes - done, ZERO_CHUNK_BYTES);
    const errno = writeAt(fd, zeros.address, byteCount, METADATA_BYTES + done);
    if (errno !== 0) throw ioError(errno, "write", `Unable to clear the activemap of ${path}`);
  }
  const errno = flush(fd);
  if (errno !== 0) throw ioError(errno, "fdatasync", `Unable to clear the activemap of ${path}`);
}

function ioError(errno: number, syscall: string, message: string): SystemError {
  return new SystemError(errno, syscall, { message, exitCode: EX.ioErr });
}

/**
 * Reads the metadata of the resource `name` from its component.
 *
 * @throws {HastError} Exit code 66: there is none, it is broken, or it is another resource's.
 */
export function readMetadata(component: Component, name: string): Metadata {
  const { path } = component;
  // The words of the original, whose read came back short without an error.
  if (component.sizeBytes < METADATA_BYTES) unreadable("Unable to read metadata: Success.");
  const metadata = decodeBlock(readBlock(component), path);
  if (metadata.resource !== name) unreadable(`Provider ${path} is not part of resource ${name}.`);
  return metadata;
}

function readBlock({ fd }: Component): Uint8Array {
  return withPages(METADATA_BYTES, (pages) => {
    const errno = readAt(fd, pages.address, METADATA_BYTES, 0);
    if (errno !== 0) throw ioError(errno, "read", "Unable to read metadata");
    return pages.bytes.slice(0, METADATA_BYTES);
  });
}

function decodeBlock(block: Uint8Array, path: string): Metadata {
  try {
    return decodeMetadata(block);
  } catch (thrown) {
    if (!(thrown instanceof MetadataError)) throw thrown;
    if (thrown.fault === "absent") {
      unreadable(`Unable to read metadata from ${path}: ${strerror(ERRNO.ENOENT)}.`);
    }
    const reason = thrown.fault === "invalid" ? strerror(ERRNO.EINVAL) : thrown.message;
    return unreadable(`Metadata read from ${path} is invalid: ${reason}.`);
  }
}

function unreadable(message: string): never {
  throw new HastError(EX.noInput, message);
}
