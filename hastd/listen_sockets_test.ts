import { assert, assertEquals, assertRejects } from "@std/assert";
import { HastError } from "../base/errors.ts";
import { closeListening, type Listening, openListenSockets, serves } from "./listen_sockets.ts";
import { PeerConnection } from "./peer_connection.ts";

function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return listener.addr.port;
}

function closeAll(open: Listening[]): void {
  for (const socket of new Set(open.map((each) => each.socket))) socket.close();
}

/** Who answers at an address: the index of the socket, and whether it wants this connection. */
async function answers(open: Listening[], hostname: string, port: number): Promise<boolean> {
  using _client = await Deno.connect({ hostname, port });
  const family = hostname.includes(":") ? "::" : "0.0.0.0";
  const entry = open.find(({ ip }) => ip === hostname || ip === family) ?? open[0];
  assert(entry !== undefined);
  const connection = new PeerConnection(await entry.socket.listener.accept());
  const result = serves(entry.socket, connection.localIp);
  connection.close();
  return result;
}

for (const order of ["IPv4 first", "IPv6 first"]) {
  Deno.test(`both wildcards at one port are served, ${order}`, async () => {
    const port = freePort();
    const addresses = [`tcp4://0.0.0.0:${port}`, `tcp6://[::]:${port}`];
    if (order === "IPv6 first") addresses.reverse();
    const open = await openListenSockets(addresses, false);
    try {
      assertEquals(open.map(({ address }) => address), addresses);
      assert(await answers(open, "127.0.0.1", port));
      assert(await answers(open, "::1", port));
    } finally {
      closeAll(open);
    }
  });
}

Deno.test("an IPv6 wildcard alone does not serve IPv4", async () => {
  const port = freePort();
  const open = await openListenSockets([`tcp6://[::]:${port}`], false);
  try {
    const answered = answers(open, "127.0.0.1", port);
    if (Deno.build.os === "linux") assertEquals(await answered, false);
    else await assertRejects(() => answered, Deno.errors.ConnectionRefused);
  } finally {
    closeAll(open);
  }
});

Deno.test("an address that is closed is served no longer, the one it shared with is", async () => {
  const port = freePort();
  const open = await openListenSockets([`127.0.0.1:${port}`, `[::]:${port}`], false);
  const [ipv4, ipv6] = open;
  assert(ipv4 !== undefined && ipv6 !== undefined);
  try {
    assert(await answers(open, "127.0.0.1", port));
    closeListening(ipv4, [ipv6]);
    assert(await answers([ipv6], "::1", port));
    assertEquals(serves(ipv6.socket, "127.0.0.1"), false);
  } finally {
    ipv6.socket.close();
  }
});

Deno.test("a port that another program holds is an error, and nothing stays open", async () => {
  using rival = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [free, taken] = [freePort(), rival.addr.port];
  for (const address of [`tcp4://127.0.0.1:${taken}`, `tcp6://[::]:${taken}`]) {
    const error = await assertRejects(
      () => openListenSockets([`tcp4://127.0.0.1:${free}`, address], false),
      HastError,
    );
    assertEquals(error.exitCode, 71);
    assertEquals(
      error.message,
      `Unable to listen on address ${address}: Address already in use.`,
    );
    Deno.listen({ hostname: "127.0.0.1", port: free }).close();
  }
});

Deno.test("addresses that cannot be are refused in the original's words", async () => {
  for (
    const [address, reason] of [
      ["tcp4://203.0.113.1", "Can't assign requested address"],
      ["tcp4://127.0.0.1:99999", "Invalid argument"],
      ["tcp4://127.0.0.1:0", "Invalid argument"],
      ["tcp4://no.such.host.invalid", "Invalid argument"],
      ["bogus://127.0.0.1", "Invalid argument"],
    ]
  ) {
    const error = await assertRejects(
      () => openListenSockets([address ?? ""], false),
      HastError,
    );
    assertEquals(error.message, `Unable to listen on address ${address}: ${reason}.`);
  }
});

Deno.test("a default address that the kernel lacks is left out, but not the last one", async () => {
  const port = freePort();
  const missing = `tcp4://203.0.113.1:${port}`;
  const open = await openListenSockets([missing, `tcp4://127.0.0.1:${port}`], true);
  assertEquals(open.map(({ address }) => address), [`tcp4://127.0.0.1:${port}`]);
  closeAll(open);
  await assertRejects(() => openListenSockets([missing], true), HastError);
  await assertRejects(() => openListenSockets([missing, `127.0.0.1:${port}`], false), HastError);
});
