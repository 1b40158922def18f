import { assert, assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { type DiskJob, DiskOp, type IoBuffer } from "../core/ports.ts";
import { closeComponent, type Component, openComponent } from "../ffi/block_device.ts";
import { Arena } from "../ffi/memory.ts";
import { startDiskThreads } from "./disk_pool.ts";
import { writeZeros } from "./disk_operation.ts";
import { LocalComponent } from "./local_component.ts";
import { Reactor } from "./reactor.ts";

const FILE_BYTES = 64 * 1024 * 1024;
const DEADLINE_MS = 10_000;

/** A job that remembers its result. */
class Job implements DiskJob {
  result: number | undefined = undefined;
  constructor(
    readonly op: DiskOp,
    readonly offsetBytes: number,
    readonly lengthBytes: number,
    readonly buffer: IoBuffer | undefined = undefined,
    readonly bufferOffsetBytes = 0,
    readonly then: (errno: number) => void = () => {},
  ) {}
  diskDone(errno: number): void {
    assertEquals(this.result, undefined, "a job is over once");
    this.result = errno;
    this.then(errno);
  }
}

class Rig {
  readonly reactor = new Reactor();
  readonly arena = new Arena(8 * 1024 * 1024);
  readonly disk: LocalComponent;
  readonly component: Component;
  readonly #path: string;
  #threads: Worker[] = [];

  constructor(kind: "file" | "block device") {
    this.#path = Deno.makeTempFileSync();
    Deno.truncateSync(this.#path, FILE_BYTES);
    this.component = { ...openComponent(this.#path), kind };
    this.disk = new LocalComponent(this.component, {
      reactor: this.reactor,
      startThreads: (memory, count) => this.#threads.push(...startDiskThreads(memory, count)),
    });
  }

  async settle(): Promise<void> {
    const deadlineMs = performance.now() + DEADLINE_MS;
    while (this.disk.pendingCount > 0) {
      assert(performance.now() < deadlineMs, "the jobs were not done in time");
      this.reactor.turn(20);
      // The threads are loaded by the event loop.
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }

  [Symbol.dispose](): void {
    this.disk.close();
    for (const thread of this.#threads) thread.terminate();
    closeComponent(this.component);
    Deno.removeSync(this.#path);
  }
}

for (const kind of ["file", "block device"] as const) {
  Deno.test(`a ${kind} does what jobs say, each once, and only after submit()`, async () => {
    using rig = new Rig(kind);
    const { disk, arena } = rig;
    assertEquals(disk.blocking, kind === "block device");
    const out = arena.take(1_000_000);
    out.bytes.forEach((_, index) => out.bytes[index] = index * 13 + (index >> 8));
    const write = new Job(DiskOp.write, 4096, 800_000, out, 100);
    disk.submit(write);
    assertEquals(write.result, undefined);
    await rig.settle();
    assertEquals(write.result, 0);

    const back = arena.take(1_000_000);
    const read = new Job(DiskOp.read, 4096, 800_000, back, 64);
    const flushes = [new Job(DiskOp.flush, 0, 0), new Job(DiskOp.flush, 0, 0)];
    for (const job of [read, ...flushes]) disk.submit(job);
    await rig.settle();
    assertEquals([read, ...flushes].map((job) => job.result), [0, 0, 0]);
    assertEquals(back.bytes.slice(64, 800_064), out.bytes.slice(100, 800_100));

    const zero = new Job(DiskOp.zero, 8192, 4096);
    const hole = new Job(DiskOp.delete, 16384, 4096);
    for (const job of [zero, hole]) disk.submit(job);
    await rig.settle();
    assertEquals(zero.result, 0);
    if (kind === "file") assertEquals(hole.result, 0);
    disk.submit(new Job(DiskOp.read, 4096, 800_000, back, 64));
    await rig.settle();
    const expected = out.bytes.slice(100, 800_100);
    expected.fill(0, 4096, 8192);
    expected.fill(0, 12288, 16384);
    assertEquals(back.bytes.slice(64, 800_064), expected);
  });

  Deno.test(`a ${kind} answers errors with an errno: reading behind the end`, async () => {
    using rig = new Rig(kind);
    const buffer = rig.arena.take(8192);
    const job = new Job(DiskOp.read, FILE_BYTES - 4096, 8192, buffer);
    rig.disk.submit(job);
    await rig.settle();
    assertEquals(job.result, ERRNO.EIO);
  });

  Deno.test(`a ${kind} takes more jobs than there are slots, and jobs from jobs`, async () => {
    using rig = new Rig(kind);
    const { disk, arena } = rig;
    const buffer = arena.take(512);
    let done = 0;
    const again = (errno: number) => {
      assertEquals(errno, 0);
      if (++done <= 500) disk.submit(new Job(DiskOp.write, done * 512, 512, buffer, 0, again));
    };
    for (let index = 0; index < 2500; index++) {
      disk.submit(new Job(DiskOp.write, index * 512, 512, buffer, 0, again));
    }
    await rig.settle();
    assertEquals(done, 3000);
  });
}

Deno.test("a flush that comes while one is under way gets a flush of its own, with all others", async () => {
  using rig = new Rig("file");
  const order: string[] = [];
  const flush = (name: string, then = () => {}) =>
    new Job(DiskOp.flush, 0, 0, undefined, 0, () => {
      order.push(name);
      then();
    });
  rig.disk.submit(flush("first", () => order.push("(done)")));
  rig.disk.submit(flush("second"));
  rig.disk.submit(flush("third"));
  await rig.settle();
  assertEquals(order, ["first", "(done)", "second", "third"]);
});

Deno.test("a large zero is left to a thread", async () => {
  using rig = new Rig("file");
  const job = new Job(DiskOp.zero, 0, FILE_BYTES);
  rig.disk.submit(job);
  assertEquals(rig.disk.pending, false);
  await rig.settle();
  assertEquals(job.result, 0);
});

Deno.test("writeZeros() writes zeros where there was data, to the byte", () => {
  using rig = new Rig("file");
  const path = `/proc/self/fd/${rig.component.fd}`;
  Deno.writeFileSync(path, new Uint8Array(4_000_000).fill(7));
  assertEquals(writeZeros(rig.component.fd, 1000, 2_500_001), 0);
  const expected = new Uint8Array(4_000_000).fill(7);
  expected.fill(0, 1000, 2_501_001);
  assertEquals(Deno.readFileSync(path), expected);
});
