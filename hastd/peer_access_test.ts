import { assertEquals } from "@std/assert";
import { PeerAccess } from "./peer_access.ts";
import { PeerConnection } from "./peer_connection.ts";

async function withConnection(test: (peer: PeerConnection) => Promise<void>): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using _client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const peer = new PeerConnection(await listener.accept());
  await test(peer);
  peer.close();
}

Deno.test("allows() compares addresses, whatever their spelling and port", () =>
  withConnection(async (peer) => {
    const access = new PeerAccess(() => Promise.resolve([]));
    for (
      const [remote, allowed] of [
        ["127.0.0.1", true],
        ["tcp4://127.0.0.1:99", true],
        ["tcp6://[::ffff:127.0.0.1]", true],
        ["127.0.0.2", false],
        ["tcp6://[::1]", false],
        ["none", false],
        ["uds:///tmp/socket", false],
        ["/tmp/socket", false],
        ["bogus://127.0.0.1", false],
      ] as const
    ) assertEquals(await access.allows(remote, peer), allowed, remote);
  }));

Deno.test("allows() looks a name up once for many, and in the family that is asked for", () =>
  withConnection(async (peer) => {
    const asked: string[] = [];
    const access = new PeerAccess((name, family) => {
      asked.push(`${name} ${family}`);
      return Promise.resolve(name === "friend" ? ["10.0.0.1", "127.0.0.1"] : ["10.0.0.1"]);
    });
    const answers = ["friend", "friend", "tcp4://friend", "stranger"]
      .map((remote) => access.allows(remote, peer));
    assertEquals(await Promise.all(answers), [true, true, true, false]);
    assertEquals(asked, ["friend undefined", "friend 4", "stranger undefined"]);
  }));

Deno.test("allows() refuses where a name cannot be looked up", () =>
  withConnection(async (peer) => {
    const access = new PeerAccess(() => Promise.reject(new Error("no name server")));
    assertEquals(await access.allows("friend", peer), false);
  }));
