import { assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { FakeDisk, FakeLog } from "../tests/support/core_fakes.ts";
import { RemoteCommand } from "./ports.ts";
import { Secondary, SecondaryRequest } from "./secondary.ts";

const DATA_OFFSET_BYTES = 8192;

function newSecondary() {
  const disk = new FakeDisk();
  const log = new FakeLog();
  const replies: string[] = [];
  const calls: string[] = [];
  let claimed: (errno: number) => void = () => {};
  const secondary = new Secondary({
    disk,
    log,
    dataOffsetBytes: DATA_OFFSET_BYTES,
    replies: {
      reply: ({ seqLow }, received, errno) => {
        replies.push(`${seqLow}${received ? " received" : errno === 0 ? "" : ` error ${errno}`}`);
      },
    },
    firstRequest: () => calls.push("first request"),
    claim: (done) => {
      calls.push("claim");
      claimed = done;
    },
  });
  let seq = 0;
  const ask = (command: RemoteCommand, offsetBytes = 0, lengthBytes = 0, memsync = false) => {
    const request = new SecondaryRequest();
    request.command = command;
    request.seqLow = ++seq;
    request.dataOffsetBytes = offsetBytes;
    request.lengthBytes = lengthBytes;
    request.memsync = memsync;
    if (lengthBytes > 0) request.buffer = { bytes: new Uint8Array(lengthBytes), address: 0n };
    secondary.request(request);
    return request;
  };
  return { secondary, disk, log, replies, calls, ask, claim: (errno: number) => claimed(errno) };
}

const { read, write, delete: remove, flush, claim } = {
  read: RemoteCommand.read,
  write: RemoteCommand.write,
  delete: RemoteCommand.delete,
  flush: RemoteCommand.flush,
  claim: RemoteCommand.claim,
};

Deno.test("Secondary answers a write once it is on the component", () => {
  const { disk, replies, ask } = newSecondary();
  ask(write, 512, 1024);
  assertEquals([disk.jobs, replies], [[`write ${DATA_OFFSET_BYTES + 512}+1024`], []]);
  disk.complete();
  assertEquals(replies, ["1"]);
});

Deno.test("Secondary answers a memsync write twice, even if it has to wait for its range", () => {
  const { disk, replies, ask } = newSecondary();
  ask(write, 0, 512, true);
  ask(write, 0, 512, true);
  assertEquals([disk.jobs.length, replies], [1, ["1 received", "2 received"]]);
  disk.complete();
  disk.complete(ERRNO.EIO);
  assertEquals(replies, ["1 received", "2 received", "1", "2 error 5"]);
});

Deno.test("Secondary does overlapping requests in the order in which they came", () => {
  const { disk, replies, ask } = newSecondary();
  ask(write, 0, 1024);
  ask(read, 512, 1024);
  ask(remove, 1024, 512);
  ask(write, 4096, 512);
  assertEquals(disk.jobs.map((job) => job.split(" ")[0]), ["write", "write"]);
  disk.complete(0, "write 12288");
  disk.complete();
  assertEquals(disk.jobs.map((job) => job.split(" ")[0]), ["read"]);
  disk.complete();
  disk.complete();
  assertEquals(replies, ["4", "1", "2", "3"]);
});

Deno.test("Secondary flushes only when all that came before is over, and lets nothing wait for it", () => {
  const { disk, replies, ask } = newSecondary();
  ask(write, 0, 512);
  ask(write, 0, 512); // Waits for its range.
  ask(flush);
  ask(write, 4096, 512);
  ask(flush);
  disk.complete(0, `write ${DATA_OFFSET_BYTES + 4096}`);
  assertEquals([disk.jobs, replies], [[`write ${DATA_OFFSET_BYTES}+512`], ["4"]]);
  disk.complete();
  assertEquals(disk.jobs, [`write ${DATA_OFFSET_BYTES}+512`], "the waiting one came before, too");
  disk.complete();
  assertEquals(disk.jobs, ["flush", "flush"]);
  disk.complete();
  disk.complete(ERRNO.EIO);
  assertEquals(replies, ["4", "1", "2", "3", "5 error 5"]);
});

Deno.test("Secondary waits with a flush for a write that has failed, but not for ever", () => {
  const { disk, replies, ask, secondary } = newSecondary();
  ask(write, 0, 512);
  ask(flush);
  disk.complete(ERRNO.ENOSPC);
  disk.complete();
  assertEquals(replies, ["1 error 28", "2"]);
  assertEquals([secondary.inFlightCount, secondary.statistics.writeErrors], [0, 1]);
});

Deno.test("Secondary writes zeros where the component cannot delete", () => {
  const { disk, replies, ask } = newSecondary();
  ask(remove, 512, 1024);
  disk.complete(ERRNO.EOPNOTSUPP);
  assertEquals([disk.jobs, replies], [[`zero ${DATA_OFFSET_BYTES + 512}+1024`], []]);
  disk.complete();
  assertEquals(replies, ["1"]);
});

Deno.test("Secondary.heard() tells of the first sign of the primary, once", () => {
  const { secondary, calls, ask } = newSecondary();
  secondary.heard();
  secondary.heard();
  ask(write, 0, 512);
  assertEquals(calls, ["first request"]);
});

Deno.test("Secondary answers a claim once it is durable, and goes on meanwhile", () => {
  const { disk, replies, calls, ask, claim: finish } = newSecondary();
  ask(claim);
  ask(write, 0, 512);
  disk.complete();
  assertEquals([calls, replies], [["first request", "claim"], ["2"]]);
  finish(ERRNO.EIO);
  assertEquals(replies, ["2", "1 error 5"]);
});

Deno.test("Secondary counts requests and failures", () => {
  const { secondary, disk, ask } = newSecondary();
  ask(read, 0, 512);
  ask(write, 4096, 512);
  ask(remove, 8192, 512);
  ask(flush);
  while (disk.jobs.length > 0) disk.complete(ERRNO.EIO);
  assertEquals(secondary.statistics, {
    reads: 1,
    writes: 1,
    deletes: 1,
    flushes: 1,
    readErrors: 1,
    writeErrors: 1,
    deleteErrors: 1,
    flushErrors: 1,
  });
});
