import { assertEquals, assertThrows } from "@std/assert";
import { AssertionFailed } from "../base/errors.ts";
import { Pipe, POLL } from "../ffi/poll.ts";
import { type BatchWork, FlushRank, Reactor } from "./reactor.ts";

function flushable(name: string, rank: FlushRank, order: string[]) {
  return { flushRank: rank, flush: () => void order.push(name) };
}

Deno.test("a turn reads, then sends to the peer first, then does the disk's work, then sends", () => {
  const reactor = new Reactor();
  const pipe = new Pipe();
  const order: string[] = [];
  let jobs = 0;
  const reply = flushable("reply", FlushRank.client, order);
  const batch: BatchWork = {
    get pending() {
      return jobs > 0;
    },
    runBatch: () => {
      jobs--;
      order.push("disk");
      reactor.queueFlush(reply);
    },
    mayWait: () => true,
    waited: () => {},
  };
  reactor.setBatchWork(batch);
  reactor.register(pipe.readFd, POLL.in, {
    ready: () => {
      pipe.drain();
      order.push("read");
      jobs++;
      reactor.queueFlush(flushable("client", FlushRank.client, order));
      reactor.queueFlush(flushable("peer", FlushRank.peer, order));
    },
  });
  pipe.wake();
  reactor.turn(1000);
  assertEquals(order, ["read", "peer", "client", "disk", "reply"]);
  reactor.unregister(pipe.readFd);
  pipe.close();
});

Deno.test("a handler may unregister another that is ready in the same turn", () => {
  const reactor = new Reactor();
  const pipes = [new Pipe(), new Pipe()] as const;
  let calls = 0;
  const handler = {
    ready: () => {
      calls++;
      for (const pipe of pipes) reactor.unregister(pipe.readFd);
    },
  };
  for (const pipe of pipes) {
    reactor.register(pipe.readFd, POLL.in, handler);
    pipe.wake();
  }
  reactor.turn(0);
  reactor.turn(0);
  assertEquals(calls, 1);
  for (const pipe of pipes) pipe.close();
});

Deno.test("run() waits for the next timer and ends after stop()", () => {
  const reactor = new Reactor();
  const order: number[] = [];
  reactor.setTimer(30, () => {
    order.push(30);
    reactor.stop();
  });
  reactor.setTimer(10, () => order.push(10));
  const cleared = reactor.setTimer(5, () => order.push(5));
  reactor.clearTimer(cleared);
  const startMs = performance.now();
  reactor.run();
  assertEquals(order, [10, 30]);
  const tookMs = performance.now() - startMs;
  assertEquals(tookMs >= 30 && tookMs < 1000, true, `took ${tookMs} ms`);
});

Deno.test("queueTask() calls back in the next turn, which does not wait", () => {
  const reactor = new Reactor();
  let calls = 0;
  const task = {
    run: () => {
      calls++;
      if (calls < 3) reactor.queueTask(task);
    },
  };
  reactor.queueTask(task);
  const startMs = performance.now();
  for (let turn = 0; turn < 3; turn++) reactor.turn(60_000);
  assertEquals(calls, 3);
  assertEquals(performance.now() - startMs < 1000, true);
});

Deno.test("register() takes a descriptor once", () => {
  const reactor = new Reactor();
  const pipe = new Pipe();
  const handler = { ready: () => {} };
  reactor.register(pipe.readFd, POLL.in, handler);
  assertThrows(() => reactor.register(pipe.readFd, POLL.in, handler), AssertionFailed);
  reactor.unregister(pipe.readFd);
  reactor.register(pipe.readFd, POLL.in, handler);
  reactor.unregister(pipe.readFd);
  pipe.close();
});
