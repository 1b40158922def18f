/**
 * One operation on the component, as system calls; the same in the loop and in a disk thread.
 * @module
 */
import { ERRNO } from "../base/errno.ts";
import { unreachable } from "../base/errors.ts";
import { DiskOp } from "../core/ports.ts";
import { flush, punchHole, readAt, writeAt, zeroRange } from "../ffi/block_device.ts";
import { mapPages, type Pages } from "../ffi/memory.ts";
import type { RingJob } from "./disk_ring.ts";

/** Zeros are written from memory that nobody writes to: its pages all are the system's one. */
const ZEROS_BYTES = 1024 * 1024;

let zeros: Pages | undefined;

/** Does what `job` asks for; blocks. Returns 0 or an errno. */
export function runDiskOperation(job: RingJob): number {
  const { op, fd, offsetBytes, lengthBytes, address } = job;
  switch (op) {
    case DiskOp.read:
      return readAt(fd, address, lengthBytes, offsetBytes);
    case DiskOp.write:
      return writeAt(fd, address, lengthBytes, offsetBytes);
    case DiskOp.delete:
      return punchHole(fd, job.kind, offsetBytes, lengthBytes);
    case DiskOp.flush:
      return flush(fd);
    case DiskOp.zero:
      return zero(job);
    default:
      return unreachable(op);
  }
}

function zero({ fd, offsetBytes, lengthBytes }: RingJob): number {
  const errno = zeroRange(fd, offsetBytes, lengthBytes);
  return errno === ERRNO.EOPNOTSUPP ? writeZeros(fd, offsetBytes, lengthBytes) : errno;
}

/** Writes zeros as data, where the component knows no other way. Returns 0 or an errno. */
export function writeZeros(fd: number, offsetBytes: number, lengthBytes: number): number {
  zeros ??= mapPages(ZEROS_BYTES);
  for (let doneBytes = 0; doneBytes < lengthBytes;) {
    const pieceBytes = Math.min(lengthBytes - doneBytes, ZEROS_BYTES);
    const errno = writeAt(fd, zeros.address, pieceBytes, offsetBytes + doneBytes);
    if (errno !== 0) return errno;
    doneBytes += pieceBytes;
  }
  return 0;
}
