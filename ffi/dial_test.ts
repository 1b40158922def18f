import { assert, assertEquals, assertRejects } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { SystemError } from "../base/system_error.ts";
import { dial, type SocketAddress, waitForFd } from "./dial.ts";
import { POLL } from "./poll.ts";
import { addressOf } from "./sockaddr.ts";
import { closeSocket, recvBytes } from "./socket.ts";

const TIMEOUT = { timeoutMs: 2000 };

for (const ip of ["127.0.0.1", "::1"]) {
  Deno.test(`dial() connects to ${ip}, and what is sent arrives`, async () => {
    using listener = Deno.listen({ hostname: ip, port: 0 });
    const accepting = listener.accept();
    const fd = await dial({ kind: "tcp", ip, port: listener.addr.port }, TIMEOUT);
    using conn = await accepting;
    assertEquals(
      addressOf(fd, "remote"),
      `ip ${listener.addr.port} ${ip === "::1" ? "[::1]" : ip}`,
    );
    const bytes = new Uint8Array(2);
    assertEquals(recvBytes(fd, bytes), -ERRNO.EAGAIN);
    await conn.write(new Uint8Array([1, 2]));
    assert(await waitForFd(fd, POLL.in, 2000));
    assertEquals(recvBytes(fd, bytes), 2);
    closeSocket(fd);
  });
}

Deno.test("dial() connects from the source address", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  const source: SocketAddress = { kind: "tcp", ip: "127.0.0.9", port: 0 };
  const target: SocketAddress = { kind: "tcp", ip: "127.0.0.1", port: listener.addr.port };
  const fd = await dial(target, { ...TIMEOUT, source });
  using conn = await accepting;
  assertEquals(conn.remoteAddr.hostname, "127.0.0.9");
  closeSocket(fd);
});

Deno.test("dial() connects to a path", async () => {
  const folder = Deno.makeTempDirSync();
  const path = `${folder}/socket`;
  using listener = Deno.listen({ transport: "unix", path });
  const accepting = listener.accept();
  const fd = await dial({ kind: "unix", path }, TIMEOUT);
  using _conn = await accepting;
  closeSocket(fd);
  Deno.removeSync(folder, { recursive: true });
});

Deno.test("dial() tells why it failed", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const errnoOf = async (target: SocketAddress, source?: SocketAddress) =>
    (await assertRejects(() => dial(target, { ...TIMEOUT, source }), SystemError)).errno;
  const target: SocketAddress = { kind: "tcp", ip: "127.0.0.1", port };
  assertEquals(await errnoOf(target), ERRNO.ECONNREFUSED);
  const strange: SocketAddress = { kind: "tcp", ip: "192.0.2.1", port: 0 };
  assertEquals(await errnoOf(target, strange), ERRNO.EADDRNOTAVAIL);
  assertEquals(await errnoOf({ kind: "unix", path: "/nonexistent/socket" }), ERRNO.ENOENT);
  assertEquals(
    await errnoOf({ kind: "unix", path: `/${"x".repeat(200)}` }),
    ERRNO.ENAMETOOLONG,
  );
});

Deno.test("waitForFd() gives up after its time", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const fd = await dial({ kind: "tcp", ip: "127.0.0.1", port: listener.addr.port }, TIMEOUT);
  assertEquals(await waitForFd(fd, POLL.in, 20), false);
  closeSocket(fd);
});
