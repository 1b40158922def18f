/**
 * The original answers a bad write without reading its data off the connection, and takes the data
 * for the next request.
 *
 * Seen to fail with this planted: `SecondaryLink.#discard` leaves the data where it is.
 */
import { assertEquals } from "@std/assert";
import { withCluster } from "../support/cluster.ts";
import { concat, type Entry, frame } from "../support/hast_wire.ts";
import { CMD, request, ScriptedPrimary } from "../support/scripted_primary.ts";

const EINVAL = 22;
const SECTOR_BYTES = 512;
const size: Entry = ["size", "uint32", SECTOR_BYTES];

/** Data that would be a request of its own to who takes it for one. */
function treacherous(): Uint8Array {
  const hidden = frame([...request(CMD.delete, 66, 0, SECTOR_BYTES)]);
  return concat(hidden, new Uint8Array(SECTOR_BYTES - hidden.length));
}

Deno.test("weakness 7: the data of a bad write is not taken for a request", () =>
  withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    using primary = await ScriptedPrimary.connect(b);
    const good = new Uint8Array(SECTOR_BYTES).fill(0x5a);
    assertEquals(await primary.request([...request(CMD.write, 1, 0, SECTOR_BYTES), size], good), 0);
    const bad: [string, Entry[]][] = [
      ["between sectors", request(CMD.write, 11, 100, SECTOR_BYTES)],
      ["past the end", request(CMD.write, 12, 2 ** 40, SECTOR_BYTES)],
      ["of length 0", request(CMD.write, 13, 0, 0)],
      ["without a number", request(CMD.write, 0, 0, SECTOR_BYTES)],
      ["that is no write at all", request(99, 15, 0, SECTOR_BYTES)],
    ];
    for (const [what, entries] of bad) {
      const answer = await primary.request([...entries, size], treacherous());
      assertEquals(answer, EINVAL, `a write ${what}`);
    }
    assertEquals(await primary.request(request(CMD.read, 20, 0, SECTOR_BYTES)), 0);
    assertEquals((await b.readData()).subarray(0, SECTOR_BYTES), good, "nothing was deleted");
  }));
