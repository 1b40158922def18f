/**
 * A worker's component: opened, locked, and what stands on it before the data.
 *
 * Everything here blocks and is done before the loop begins.
 *
 * Source: disk.md; metadata.c for the words of the messages.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { SystemError } from "../base/system_error.ts";
import {
  closeComponent,
  type Component,
  flush,
  openComponent,
  readAt,
  writeAt,
} from "../ffi/block_device.ts";
import { mapPages, type Pages, releasePages } from "../ffi/memory.ts";
import { activemapBytes, extentCountOf } from "../protocol/activemap_layout.ts";
import type { MapLimits } from "../protocol/handshake.ts";
import {
  decodeMetadata,
  encodeMetadata,
  mapBytesOf,
  type Metadata,
  METADATA_BYTES,
  MetadataError,
} from "../protocol/metadata.ts";

/** A peer's map may be larger than ours: some versions of FreeBSD wrote maps eight times too large. */
const MAP_OVERSIZE_MAX = 8;
const MAP_SPARE_BYTES = 1024 * 1024;
/**
 * A worker whose main process was killed ends within some seconds; the one that a restarted hastd
 * sets to work meanwhile must not fail for that.
 */
const LOCK_WAIT_MS = 8_000;

/** An open component and what it says of itself. */
export interface WorkerComponent {
  readonly component: Component;
  readonly metadata: Metadata;
  /** The activemap as it is on disk. */
  readonly map: Uint8Array<ArrayBuffer>;
}

/**
 * Opens and locks the component of a resource and reads what stands before the data.
 *
 * @throws {HastError} It cannot be opened, or is not this resource's, or is damaged: exit code 66.
 */
export function openWorkerComponent(path: string, name: string, log: Log): WorkerComponent {
  const component = openComponent(path, { log, lockWaitMs: LOCK_WAIT_MS });
  try {
    const metadata = readMetadata(component, name);
    checkFits(component, metadata);
    return { component, metadata, map: readMap(component, metadata) };
  } catch (error) {
    closeComponent(component);
    throw error;
  }
}

/** What a map of the other node may measure. */
export function mapLimitsOf(metadata: Metadata): MapLimits {
  const extentCount = extentCountOf(metadata.datasizeBytes, metadata.extentsizeBytes);
  const bytesMin = activemapBytes(extentCount);
  const bytesMax = Math.max(bytesMin, mapBytesOf(metadata)) * MAP_OVERSIZE_MAX + MAP_SPARE_BYTES;
  return { bytesMin, bytesMax };
}

/**
 * Writes the metadata and puts it on stable storage.
 *
 * @throws {SystemError} It cannot be written:.
 */
export function storeMetadata(component: Component, metadata: Metadata): void {
  store(component, encodeMetadata(metadata), 0, "metadata");
}

/** Writes the activemap and puts it on stable storage; as {@link storeMetadata}. */
export function storeMap(component: Component, map: Uint8Array): void {
  store(component, map, METADATA_BYTES, "activemap");
}

function store(component: Component, bytes: Uint8Array, offsetBytes: number, what: string): void {
  withPages(bytes.length, (pages) => {
    pages.bytes.set(bytes);
    const errno = writeAt(component.fd, pages.address, bytes.length, offsetBytes) ||
      flushed(component);
    if (errno !== 0) throw ioError(errno, `Unable to write ${what} to ${component.path}`);
  });
}

/** A component without a cache to flush counts as flushed. */
function flushed(component: Component): number {
  const errno = flush(component.fd);
  return errno === ERRNO.EOPNOTSUPP || errno === ERRNO.EINVAL ? 0 : errno;
}

function readMetadata(component: Component, name: string): Metadata {
  const { path } = component;
  if (component.sizeBytes < METADATA_BYTES) refuse("Unable to read metadata: Success.");
  const metadata = decode(readBytes(component, 0, METADATA_BYTES, "metadata"), path);
  if (metadata.resource !== name) refuse(`Provider ${path} is not part of resource ${name}.`);
  return metadata;
}

function decode(block: Uint8Array, path: string): Metadata {
  try {
    return decodeMetadata(block);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    if (error.fault === "absent") {
      return refuse(`Unable to read metadata from ${path}: ${strerror(ERRNO.ENOENT)}.`);
    }
    return refuse(`Metadata read from ${path} is invalid: ${messageOf(error)}.`);
  }
}

function checkFits({ path, sizeBytes, sectorSizeBytes }: Component, metadata: Metadata): void {
  const { dataOffsetBytes, datasizeBytes } = metadata;
  const neededBytes = dataOffsetBytes + datasizeBytes;
  if (neededBytes > sizeBytes) {
    refuse(`Provider ${path} is too small: it has ${sizeBytes} of ${neededBytes} bytes.`);
  }
  if (dataOffsetBytes % sectorSizeBytes !== 0) {
    refuse(`Data of ${path} begins at ${dataOffsetBytes}, within a sector of ${sectorSizeBytes}.`);
  }
}

function readMap(component: Component, metadata: Metadata): Uint8Array<ArrayBuffer> {
  return readBytes(component, METADATA_BYTES, mapBytesOf(metadata), "activemap");
}

function readBytes(
  component: Component,
  offsetBytes: number,
  byteCount: number,
  what: string,
): Uint8Array<ArrayBuffer> {
  return withPages(byteCount, (pages) => {
    const errno = readAt(component.fd, pages.address, byteCount, offsetBytes);
    if (errno !== 0) throw ioError(errno, `Unable to read ${what} from ${component.path}`);
    return pages.bytes.slice(0, byteCount);
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

function ioError(errno: number, message: string): SystemError {
  return new SystemError(errno, "pread or pwrite", { message, exitCode: EX.noInput });
}

function refuse(message: string): never {
  throw new HastError(EX.noInput, message);
}
