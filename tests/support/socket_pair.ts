/**
 * Two ends of one connection as descriptors, for tests of the loop.
 * @module
 */
import { detachSocket } from "../../ffi/socket.ts";

/** Two connected TCP sockets of the loopback that belong to the caller. */
export async function socketPair(): Promise<[number, number]> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = listener.accept();
  const dialed = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  return [detachSocket(dialed), detachSocket(await accepting)];
}
