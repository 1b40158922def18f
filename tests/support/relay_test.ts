import { assertEquals } from "@std/assert";
import { Relay } from "./relay.ts";
import { waitFor } from "./wait.ts";

/** Both ends of a connection through a relay. */
async function withRelay(
  test: (relay: Relay, near: Deno.TcpConn, far: Deno.TcpConn) => Promise<void>,
): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using relay = new Relay({ hostname: "127.0.0.1", port: listener.addr.port });
  const accepted = listener.accept();
  using near = await Deno.connect({ hostname: "127.0.0.1", port: relay.port });
  using far = await accepted;
  await test(relay, near, far);
}

async function receive(conn: Deno.TcpConn): Promise<string> {
  const bytes = new Uint8Array(100);
  const count = await conn.read(bytes).catch(() => null);
  return count === null ? "the end" : new TextDecoder().decode(bytes.subarray(0, count));
}

const send = (conn: Deno.TcpConn, text: string) => conn.write(new TextEncoder().encode(text));

Deno.test("Relay passes both ways, and keeps what it is to hold until it may pass", () =>
  withRelay(async (relay, near, far) => {
    await send(near, "one");
    assertEquals(await receive(far), "one");
    relay.hold("forward");
    await send(near, "two");
    await waitFor("it has come", () => relay.heldBytes("forward") === 3);
    await send(far, "back");
    assertEquals(await receive(near), "back");
    relay.pass("forward");
    assertEquals(await receive(far), "two");
    await waitFor("nothing is left", () => relay.heldBytes("forward") === 0);
  }));

Deno.test("Relay loses what it holds when it is cut, and both sides see the end", () =>
  withRelay(async (relay, near, far) => {
    relay.hold("forward");
    await send(near, "lost");
    await waitFor("it has come", () => relay.heldBytes("forward") === 4);
    relay.cut();
    assertEquals([await receive(near), await receive(far)], ["the end", "the end"]);
  }));

Deno.test("Relay hands the end of one side on to the other", () =>
  withRelay(async (_relay, near, far) => {
    await near.closeWrite();
    assertEquals(await receive(far), "the end");
  }));
