/** Bad requests to a secondary: each gets its error, and the next primary is served. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Node, RESOURCE, withCluster } from "../support/cluster.ts";
import { type Entry, frame, FrameConn, framePrefix } from "../support/hast_wire.ts";
import { Random } from "../support/random.ts";
import { CMD, request, ScriptedPrimary } from "../support/scripted_primary.ts";

const HELLO: Entry[] = [["resource", "string", RESOURCE], ["version", "uint8", 2]];

const { read: READ, write: WRITE, delete: DELETE, flush: FLUSH } = CMD;
const EINVAL = 22;
const SECTOR = new Uint8Array(512).fill(0x5a);

async function withScriptedPrimary(
  test: (primary: ScriptedPrimary, node: Node) => Promise<void>,
): Promise<void> {
  await withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    {
      using primary = await ScriptedPrimary.connect(b);
      await test(primary, b);
    }
    using next = await ScriptedPrimary.connect(b);
    assertEquals(await next.request(request(READ, 1, 0, 512)), 0, "the next primary is served");
  });
}

Deno.test("a secondary answers invalid requests with EINVAL and stays in step", () =>
  withScriptedPrimary(async (primary, b) => {
    const { dataBytes } = await b.layout();
    const size: Entry = ["size", "uint32", SECTOR.length];
    const invalid: [string, Entry[], Uint8Array?][] = [
      ["offset between sectors", request(READ, 11, 100, 512)],
      ["length between sectors", request(READ, 12, 0, 100)],
      ["length 0", request(READ, 13, 0, 0)],
      ["too long", request(READ, 14, 0, 1 << 30)],
      ["past the end", request(READ, 15, dataBytes, 512)],
      ["offset and length wrap around", request(READ, 16, 2n ** 64n - 512n, 1024)],
      ["delete past the end", request(DELETE, 17, dataBytes, 1 << 20)],
      ["write between sectors", [...request(WRITE, 18, 100, 512), size], SECTOR],
      ["write past the end", [...request(WRITE, 19, dataBytes, 512), size], SECTOR],
    ];
    for (const [what, entries, data] of invalid) {
      assertEquals(await primary.request(entries, data), EINVAL, what);
    }
    assertEquals(
      await primary.request([...request(WRITE, 20, dataBytes - 512, 512), size], SECTOR),
      0,
    );
    assertEquals(await primary.request(request(READ, 21, dataBytes - 512, 512)), 0);
    assertEquals(await primary.request(request(FLUSH, 22, 0, 0)), 0);
    assertEquals((await b.readData()).subarray(-512), SECTOR, "the right write is on the disk");
  }));

const FATAL: [string, Uint8Array][] = [
  [
    "more data than any request may have",
    frame([...request(WRITE, 31, 0, 512), ["size", "uint32", 0xf0000000]], 2, SECTOR),
  ],
  [
    "an unknown checksum",
    frame(
      [
        ...request(WRITE, 32, 0, 512),
        ["checksum", "string", "md5"],
        ["hash", "bytes", new Uint8Array(16)],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "a wrong checksum",
    frame(
      [
        ...request(WRITE, 33, 0, 512),
        ["checksum", "string", "crc32"],
        ["hash", "bytes", new Uint8Array(4)],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "an unknown compression",
    frame(
      [
        ...request(WRITE, 34, 0, 512),
        ["compression", "string", "zstd"],
        ["size", "uint32", 512],
      ],
      2,
      SECTOR,
    ),
  ],
  [
    "a hole of 4 GiB",
    frame(
      [
        ...request(WRITE, 35, 0, 512),
        ["compression", "string", "hole"],
        ["size", "uint32", 4],
      ],
      2,
      new Uint8Array(4).fill(0xff),
    ),
  ],
  ["a header of 4 GiB", framePrefix(2, 0xffffffff)],
  ["a version byte above ours", frame(request(READ, 36, 0, 512), 3)],
  ["random bytes", new Random(5).bytes(4096)],
];

for (const [what, bytes] of FATAL) {
  Deno.test(`a secondary ends the connection on ${what}, and serves the next`, () =>
    withScriptedPrimary(async (primary, b) => {
      await primary.requests.send(bytes);
      assertEquals(await primary.replies.receive(), undefined, "closed without an answer");
      await b.waitLog(/\[ERROR\] \[disk0\] \(secondary\) /);
    }));
}

Deno.test("a secondary whose unique ID differs refuses and names both", () =>
  withCluster({}, async ({ b }) => {
    await b.start();
    await b.role("secondary");
    {
      using _first = await ScriptedPrimary.connect(b);
    }
    using one = await FrameConn.tcp(b.address, b.port);
    await one.send(frame(HELLO, 1));
    const token = (await one.receive())?.get("token");
    assert(token instanceof Uint8Array, "the secondary gives a token");
    using two = await FrameConn.tcp(b.address, b.port);
    await two.send(frame([
      ["resource", "string", RESOURCE],
      ["token", "bytes", token],
      ["resuid", "uint64", 66],
      ["localcnt", "uint64", 0],
      ["remotecnt", "uint64", 0],
    ]));
    const message = (await one.receive())?.get("errmsg");
    assertMatch(
      String(message),
      /^Resource unique ID mismatch \(primary=66, secondary=4711\)\.$/,
    );
  }));
