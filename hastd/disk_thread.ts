/**
 * A disk thread: the program of a Web Worker that does one blocking operation after the other for
 * the loop. It is given the shared memory in its first message, and does not come back to its
 * event loop before the ring is stopped.
 * @module
 */
import { wake } from "../ffi/poll.ts";
import { runDiskOperation } from "./disk_operation.ts";
import { DiskRing } from "./disk_ring.ts";

function serve(ring: DiskRing): void {
  for (let slot = ring.takeSubmission(); slot !== -1; slot = ring.takeSubmission()) {
    const startMs = performance.now();
    const errno = runDiskOperation(ring.jobOf(slot));
    const durationUs = Math.round((performance.now() - startMs) * 1000);
    const pipeFd = ring.complete(slot, errno, durationUs);
    if (pipeFd !== -1) wake(pipeFd);
  }
}

globalThis.addEventListener("message", (event) => {
  if (!(event instanceof MessageEvent) || !(event.data instanceof SharedArrayBuffer)) return;
  serve(new DiskRing(event.data));
  close();
}, { once: true });
