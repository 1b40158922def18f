/**
 * Starting disk threads. Needs an isolate whose event loop runs: the main one.
 * @module
 */

/** Starts `count` threads that take jobs from the ring in `memory` until it is stopped. */
export function startDiskThreads(memory: SharedArrayBuffer, count: number): Worker[] {
  const threads: Worker[] = [];
  for (let index = 0; index < count; index++) {
    const url = new URL("./disk_thread.ts", import.meta.url);
    const thread = new Worker(url, { type: "module", name: "disk" });
    thread.postMessage(memory);
    threads.push(thread);
  }
  return threads;
}
