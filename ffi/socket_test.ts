import { assert, assertEquals, assertThrows } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { HastError } from "../base/errors.ts";
import { openDescriptors, setCloseOnExec, statusOf } from "./descriptor.ts";
import { IovecList } from "./iovec.ts";
import { mapPages } from "./memory.ts";
import {
  closeSocket,
  detachSocket,
  listenerFd,
  recv,
  recvBytes,
  send,
  sendBytes,
  sendVector,
  setBufferSizes,
  setKeepAlive,
  setNoDelay,
  setUserTimeout,
  shutdownSocket,
  socketFd,
  takeSocketError,
} from "./socket.ts";

const text = (value: string) => new Uint8Array(new TextEncoder().encode(value));

async function tcpPair(hostname: string): Promise<[Deno.TcpConn, Deno.TcpConn]> {
  using listener = Deno.listen({ hostname, port: 0 });
  const accepted = listener.accept();
  const dialed = await Deno.connect({ hostname, port: listener.addr.port });
  return [await accepted, dialed];
}

/** Runs `use` with the path of a Unix socket to be, in a folder of its own. */
async function withSocketPath(use: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(`${folder}/socket`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function unixPair(
  listener: Deno.UnixListener,
  path: string,
): Promise<[Deno.UnixConn, Deno.UnixConn]> {
  const accepted = listener.accept();
  const dialed = await Deno.connect({ transport: "unix", path });
  return [await accepted, dialed];
}

/** What arrives within a second, `byteCount` bytes of it. */
async function receive(fd: number, byteCount: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteCount);
  const deadline = performance.now() + 1000;
  let received = 0;
  while (received < byteCount && performance.now() < deadline) {
    const result = recvBytes(fd, bytes.subarray(received));
    if (result === -ERRNO.EAGAIN) await new Promise((resolve) => setTimeout(resolve, 1));
    else if (result <= 0) break;
    else received += result;
  }
  return bytes.subarray(0, received);
}

for (const hostname of ["127.0.0.1", "::1"]) {
  Deno.test(`socketFd() and listenerFd() find TCP sockets on ${hostname}`, async () => {
    using listener = Deno.listen({ hostname, port: 0 });
    const accepting = listener.accept();
    using dialed = await Deno.connect({ hostname, port: listener.addr.port });
    using accepted = await accepting;
    const fds = [listenerFd(listener), socketFd(dialed), socketFd(accepted)];
    assertEquals(new Set(fds).size, 3);
    assertEquals(socketFd(dialed), fds[1]);
    for (const fd of fds) assertEquals(statusOf(fd)?.type, "socket");
    await dialed.write(text("ping"));
    assertEquals(await receive(fds[2] ?? -1, 4), text("ping"));
    assertEquals(sendBytes(fds[2] ?? -1, text("pong")), 4);
    assertEquals(await receive(fds[1] ?? -1, 4), text("pong"));
  });
}

Deno.test("socketFd() finds the Unix connection accepted or dialed last", () =>
  withSocketPath(async (path) => {
    using listener = Deno.listen({ transport: "unix", path });
    const fds = [listenerFd(listener)];
    const conns: Deno.Conn[] = [];
    for (let index = 0; index < 3; index++) {
      const [accepted, dialed] = await unixPair(listener, path);
      const [acceptedFd, dialedFd] = [socketFd(accepted), socketFd(dialed)];
      assertEquals(sendBytes(dialedFd, text(`to ${index}`)), 4);
      assertEquals(await receive(acceptedFd, 4), text(`to ${index}`));
      fds.push(acceptedFd, dialedFd);
      conns.push(accepted, dialed);
    }
    assertEquals(new Set(fds).size, 7);
    for (const conn of conns) conn.close();
    // The same numbers come again, for other sockets.
    const [accepted, dialed] = await unixPair(listener, path);
    assert(fds.includes(socketFd(accepted)));
    accepted.close();
    dialed.close();
  }));

Deno.test("socketFd() refuses to guess between two Unix connections", () =>
  withSocketPath(async (path) => {
    using listener = Deno.listen({ transport: "unix", path });
    const conns = [...await unixPair(listener, path), ...await unixPair(listener, path)];
    const [accepted] = conns;
    assert(accepted !== undefined);
    assertThrows(() => socketFd(accepted), HastError, "2 of the open ones match");
    for (const conn of conns) conn.close();
  }));

Deno.test("socketFd() of a closed connection throws", async () => {
  const [accepted, dialed] = await tcpPair("127.0.0.1");
  dialed.close();
  accepted.close();
  assertThrows(() => socketFd(dialed), HastError, "0 of the open ones match");
});

/** Both ends of one connection, as `detachSocket()` gives them. */
async function detachedPair(kind: "tcp" | "unix"): Promise<[number, number]> {
  if (kind === "tcp") {
    const [accepted, dialed] = await tcpPair("127.0.0.1");
    return [detachSocket(accepted), detachSocket(dialed)];
  }
  const fds: [number, number] = [-1, -1];
  await withSocketPath(async (path) => {
    using listener = Deno.listen({ transport: "unix", path });
    const [accepted, dialed] = await unixPair(listener, path);
    fds[0] = detachSocket(accepted);
    fds[1] = detachSocket(dialed);
  });
  return fds;
}

for (const kind of ["tcp", "unix"] as const) {
  Deno.test(`detachSocket() leaves a ${kind} connection alive and closes Deno's`, async () => {
    const before = openDescriptors().length;
    const [a, b] = await detachedPair(kind);
    assertEquals(openDescriptors().length, before + 2);
    assertEquals(sendBytes(a, text("hello")), 5);
    assertEquals(await receive(b, 5), text("hello"));
    assertEquals(recvBytes(b, new Uint8Array(5)), -ERRNO.EAGAIN);
    assertEquals(shutdownSocket(a, "write"), 0);
    assertEquals(recvBytes(b, new Uint8Array(5)), 0);
    assertEquals(sendBytes(b, text("still")), 5);
    assertEquals(await receive(a, 5), text("still"));
    assertEquals(takeSocketError(a), 0);
    closeSocket(b);
    assertEquals([0, -ERRNO.ECONNRESET].includes(recvBytes(a, new Uint8Array(5))), true);
    closeSocket(a);
    assertEquals(openDescriptors().length, before);
  });

  Deno.test({
    name: `detachSocket() takes a ${kind} connection out of every epoll set`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      const [a, b] = await detachedPair(kind);
      const watched = epollInodes();
      assert(watched.size > 0, "the sets of the event loop are seen");
      for (const fd of [a, b]) assertEquals(watched.has(statusOf(fd)?.inode ?? 0n), false);
      closeSocket(a);
      closeSocket(b);
    },
  });
}

/** Inodes that any epoll set of this process watches. */
function epollInodes(): Set<bigint> {
  const inodes = new Set<bigint>();
  for (const fd of openDescriptors()) {
    const info = Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`);
    for (const [, hex] of info.matchAll(/^tfd:.* ino:([0-9a-f]+)/gm)) {
      inodes.add(BigInt(`0x${hex}`));
    }
  }
  return inodes;
}

Deno.test("send() and recv() work on addresses and stop where the kernel is full", async () => {
  const [a, b] = await detachedPair("tcp");
  const pages = mapPages(8 * 1024 * 1024);
  const half = pages.bytes.length / 2;
  for (let index = 0; index < half; index++) pages.bytes[index] = index * 7 >> 3;
  let [sent, received, full] = [0, 0, 0];
  while (received < half) {
    const result = send(a, pages.address + BigInt(sent), half - sent);
    if (result === -ERRNO.EAGAIN) full++;
    else sent += Math.max(0, result);
    const got = recv(b, pages.address + BigInt(half + received), half - received);
    assert(got > 0 || got === -ERRNO.EAGAIN);
    if (got > 0) received += got;
    else await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assertEquals(pages.bytes.subarray(0, half), pages.bytes.subarray(half));
  // Nobody reads: at some time nothing fits.
  while (full < 2) full += send(a, pages.address, half) === -ERRNO.EAGAIN ? 2 : 0;
  closeSocket(b);
  const result = send(a, pages.address, 1);
  assert([-ERRNO.EPIPE, -ERRNO.ECONNRESET].includes(result), String(result));
  closeSocket(a);
});

Deno.test("sendVector() sends pieces in order, however much the kernel takes at once", async () => {
  const [a, b] = await detachedPair("unix");
  setBufferSizes(a, 4096, 4096);
  const pages = mapPages(1024 * 1024);
  pages.bytes.forEach((_, index) => pages.bytes[index] = index * 13 >> 4);
  const list = new IovecList(64);
  const expected: number[] = [];
  for (let piece = 0; piece < 64; piece++) {
    const [start, length] = [(63 - piece) * 16384, piece === 5 ? 0 : 1 + piece * 101];
    list.push(pages.address + BigInt(start), length);
    expected.push(...pages.bytes.subarray(start, start + length));
  }
  assert(list.full);
  assertEquals(list.byteCount, expected.length);
  const received: number[] = [];
  const bytes = new Uint8Array(1000);
  let calls = 0;
  while (received.length < expected.length) {
    if (list.byteCount > 0) {
      const result = sendVector(a, list);
      calls += result > 0 ? 1 : 0;
      assert(result > 0 || result === -ERRNO.EAGAIN);
    }
    const got = recvBytes(b, bytes);
    if (got > 0) received.push(...bytes.subarray(0, got));
  }
  assert(calls > 1, "the kernel took it in parts");
  assertEquals(received, expected);
  list.clear();
  assertEquals([list.byteCount, list.full], [0, false]);
  closeSocket(a);
  closeSocket(b);
});

Deno.test("socket options are set", async () => {
  const [a, b] = await detachedPair("tcp");
  assertEquals(setNoDelay(a, true), 0);
  assertEquals(setBufferSizes(a, 1 << 18, 1 << 18), 0);
  assertEquals(setKeepAlive(a, { idleSeconds: 10, intervalSeconds: 5, probeCount: 3 }), 0);
  assertEquals(setUserTimeout(a, 20_000), 0);
  assertEquals(setNoDelay(0, true), ERRNO.ENOTSOCK);
  assertEquals(setNoDelay(9999, true), ERRNO.EBADF);
  closeSocket(a);
  closeSocket(b);
});

Deno.test({
  name: "setCloseOnExec() decides what programs inherit",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const [a, b] = await detachedPair("tcp");
    const inherits = async () => {
      const list = new Deno.Command("ls", { args: [`/proc/self/fd/${a}`], stderr: "null" });
      return (await list.output()).success;
    };
    assertEquals(await inherits(), false);
    setCloseOnExec(a, false);
    assertEquals(await inherits(), true);
    setCloseOnExec(a, true);
    assertEquals(await inherits(), false);
    closeSocket(a);
    closeSocket(b);
  },
});
