import { assert, assertEquals } from "@std/assert";
import { closeFd } from "./descriptor.ts";
import { kill } from "./process.ts";
import { Pipe, POLL, PollSet, wake } from "./poll.ts";

Deno.test("PollSet tells which of many descriptors are ready, and grows", () => {
  const set = new PollSet(1);
  const pipes = Array.from({ length: 600 }, () => new Pipe());
  pipes.forEach((pipe, index) => set.set(index, pipe.readFd, POLL.in));
  assertEquals(set.poll(600, 0), 0);
  pipes[0]?.wake();
  pipes[599]?.wake();
  assertEquals(set.poll(600, -1), 2);
  assertEquals([set.revents(0), set.revents(1), set.revents(599)], [POLL.in, 0, POLL.in]);
  assertEquals(set.poll(599, -1), 1);
  set.setEvents(0, 0);
  assertEquals(set.poll(599, 0), 0);
  set.set(599, -1, POLL.in);
  assertEquals(set.poll(600, 0), 0);
  set.set(1, pipes[1]?.writeFd ?? -1, POLL.out);
  assertEquals(set.poll(600, 1000), 1);
  assertEquals(set.revents(1), POLL.out);
  for (const pipe of pipes) pipe.close();
});

Deno.test("poll() tells a hang-up and a descriptor that is not open", () => {
  const [pipe, set] = [new Pipe(), new PollSet()];
  set.set(0, pipe.readFd, POLL.in);
  set.set(1, 99999, POLL.in);
  assertEquals(set.poll(2, 0), 1);
  assertEquals(set.revents(1), POLL.invalid);
  closeFd(pipe.writeFd);
  assertEquals(set.poll(1, 0), 1);
  assertEquals(set.revents(0), POLL.hangup);
  closeFd(pipe.readFd);
});

Deno.test("Pipe is drained however often it was woken", () => {
  const [pipe, set] = [new Pipe(), new PollSet()];
  set.set(0, pipe.readFd, POLL.in);
  for (let count = 0; count < 100_000; count++) pipe.wake();
  assertEquals(set.poll(1, 0), 1);
  pipe.drain();
  assertEquals(set.poll(1, 0), 0);
  pipe.drain();
  pipe.wake();
  assertEquals(set.poll(1, 0), 1);
  pipe.close();
});

Deno.test("poll() waits its whole time, signals notwithstanding", async () => {
  // On the main thread of a process, where signals arrive.
  const source = `
    import { PollSet } from ${JSON.stringify(import.meta.resolve("./poll.ts"))};
    Deno.addSignalListener("SIGUSR1", () => {});
    console.log("ready");
    const start = performance.now();
    const ready = new PollSet().poll(0, 400);
    console.log(ready, performance.now() - start);
    Deno.exit(0);`;
  const url = `data:text/javascript,${encodeURIComponent(source)}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", url],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const chunks: string[] = [];
  let timer: ReturnType<typeof setInterval> | undefined;
  let signalCount = 0;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    chunks.push(chunk);
    timer ??= setInterval(() => signalCount += kill(child.pid, "SIGUSR1") === 0 ? 1 : 0, 20);
  }
  clearInterval(timer);
  await child.status;
  const [, ready, elapsedMs] = chunks.join("").split(/\s+/).map(Number);
  assertEquals(ready, 0);
  assert(elapsedMs !== undefined && elapsedMs >= 399 && elapsedMs < 4000, `${elapsedMs} ms`);
  assert(signalCount > 3, "signals were sent");
});

Deno.test("wake() ends the wait of a thread that blocks in poll()", async () => {
  const pipe = new Pipe();
  const source = `
    import { POLL, PollSet } from ${JSON.stringify(import.meta.resolve("./poll.ts"))};
    onmessage = ({ data }) => {
      const set = new PollSet();
      set.set(0, data, POLL.in);
      postMessage("waiting");
      postMessage(set.poll(1, 10_000));
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  const messages: unknown[] = [];
  const woken = new Promise((resolve) => {
    worker.onmessage = ({ data }) => {
      messages.push(data);
      if (data === "waiting") wake(pipe.writeFd);
      else resolve(data);
    };
  });
  worker.postMessage(pipe.readFd);
  assertEquals(await woken, 1);
  assertEquals(messages, ["waiting", 1]);
  worker.terminate();
  URL.revokeObjectURL(url);
  pipe.close();
});
