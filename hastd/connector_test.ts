import { assert, assertEquals } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ResourceConfig } from "../conf/config.ts";
import { closeSocket } from "../ffi/socket.ts";
import { encodeFrame, type Frame, FrameReader } from "../protocol/frame.ts";
import { Nv } from "../protocol/nv.ts";
import { SecondaryAuthentication } from "../protocol/secure.ts";
import { availableCiphers } from "../protocol/secure_record.ts";
import { waitFor } from "../tests/support/wait.ts";
import { Connector, type Established } from "./connector.ts";

const TOKEN = Uint8Array.from({ length: 16 }, (_, index) => index);
const SECRET = new Uint8Array(32).fill(3);
const HELLO = { virgin: true, resuid: 77n, localcnt: 0n, remotecnt: 0n };
const GEOMETRY = {
  datasizeBytes: 16772608,
  extentsizeBytes: 2097152,
  mapLimits: { bytesMin: 1, bytesMax: 4096 },
};

function secretsAt([path]: readonly string[]): Uint8Array[] | undefined {
  if (path === "/bad") throw new ConfigError(`Unable to use secret ${path}: it is no file.`);
  return path === undefined ? undefined : [SECRET];
}

/** One connection as the scripted secondary has it. */
class Peer {
  readonly #reader = new FrameReader();
  constructor(readonly conn: Deno.TcpConn) {}

  async receive(): Promise<Frame | undefined> {
    const chunk = new Uint8Array(65536);
    for (;;) {
      const frame = this.#reader.next();
      if (frame !== undefined) return frame;
      const got = await this.conn.read(chunk);
      if (got === null) return undefined;
      this.#reader.push(chunk.subarray(0, got));
    }
  }

  async send(header: Nv, data?: Uint8Array, version = 2): Promise<void> {
    await this.conn.write(encodeFrame(version, header, data));
  }
}

type Script = (next: () => Promise<Peer>) => Promise<void>;

interface Rig {
  connector: Connector;
  logged: string[];
  established: Established[];
  refused: string[];
  connectionCount: number;
  config: ResourceConfig;
}

/** Runs a connector against a secondary that does what `script` says, then `check`. */
async function withSecondary(
  script: Script,
  check: (rig: Rig) => Promise<void>,
  change: Partial<ResourceConfig> = {},
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const conns: Deno.TcpConn[] = [];
  const config: ResourceConfig = {
    name: "data",
    providerName: "data",
    providerNbd: undefined,
    localPath: "/nonexistent",
    remoteAddress: `tcp4://127.0.0.1:${listener.addr.port}`,
    sourceAddress: undefined,
    replication: "memsync",
    checksum: "none",
    compression: "none",
    timeoutSeconds: 5,
    execPath: undefined,
    metaflush: true,
    syncRateBytesPerSecond: 0,
    secretPaths: [],
    ...change,
  };
  const rig: Rig = {
    connector: new Connector({
      config: () => rig.config,
      geometry: GEOMETRY,
      log: remembering((line) => rig.logged.push(line)),
      secrets: secretsAt,
      hello: () => Promise.resolve(HELLO),
      established: (established) => rig.established.push(established),
      refused: (message) => rig.refused.push(message),
      retryMs: 10,
    }),
    logged: [],
    established: [],
    refused: [],
    connectionCount: 0,
    config,
  };
  const next = async () => {
    const conn = await listener.accept();
    conns.push(conn);
    rig.connectionCount++;
    return new Peer(conn);
  };
  const scripted = script(next);
  const running = rig.connector.run();
  try {
    await check(rig);
  } finally {
    rig.connector.close();
    await scripted;
    await running;
    listener.close();
    for (const conn of conns) conn.close();
    for (const { requestsFd, repliesFd } of rig.established) {
      closeSocket(requestsFd);
      closeSocket(repliesFd);
    }
  }
}

function remembering(say: (line: string) => void): Log {
  return {
    error: (message) => say(`error ${message}`),
    warning: (message) => say(`warning ${message}`),
    info: (message) => say(`info ${message}`),
    debug: (level, message) => say(`debug${level} ${message}`),
  };
}

function firstAnswer(version = 2): Nv {
  return new Nv().addU8("version", version).addU8Array("token", TOKEN);
}

function secondAnswer(datasize = 16772608, extentsize = 2097152): Nv {
  return new Nv().addI64("datasize", datasize).addI32("extentsize", extentsize)
    .addU64("localcnt", 3).addU64("remotecnt", 4).addU8("syncsrc", 1);
}

async function logs(rig: Rig, text: string): Promise<void> {
  await waitFor(`a log line with ${text}`, () => rig.logged.some((line) => line.includes(text)));
}

/** Answers the first step of each attempt in the same way. */
function refusing(answer: Nv): Script {
  return async (next) => {
    const peer = await next();
    await peer.receive();
    await peer.send(answer);
  };
}

Deno.test("a whole handshake: what is said, in which version, and what is handed over", async () => {
  const frames: (Frame | undefined)[] = [];
  const map = Uint8Array.from({ length: 512 }, (_, index) => index);
  await withSecondary(async (next) => {
    const first = await next();
    frames.push(await first.receive());
    await first.send(firstAnswer());
    frames.push(await (await next()).receive());
    const answer = secondAnswer().addU32("mapsize", 512).addU32("maxrequest", 1048576)
      .addU8("claims", 1).addU32("size", 512);
    await first.send(answer, map);
  }, async (rig) => {
    await waitFor("the link", () => rig.established.length === 1);
    const [established] = rig.established;
    assertEquals(established?.answer.map, map);
    assertEquals(established?.hello, HELLO);
    const { localcnt, remotecnt, requestBytesMax, takesClaims, syncSource } = established?.answer ??
      {};
    assertEquals(
      { localcnt, remotecnt, requestBytesMax, takesClaims, syncSource },
      {
        localcnt: 3n,
        remotecnt: 4n,
        requestBytesMax: 1048576,
        takesClaims: true,
        syncSource: "primary",
      },
    );
    assertEquals(established?.version, 2);
    assertEquals(rig.logged, ["debug1 Negotiated protocol version 2."]);
  });
  const [step1, step2] = frames;
  assertEquals([step1?.version, step1?.header.string("resource")], [1, "data"]);
  assertEquals(step1?.header.entries().map(({ name }) => name), ["resource", "version"]);
  assertEquals(step2?.version, 2);
  assertEquals(step2?.header.entries().map(({ name }) => name), [
    "resource",
    "token",
    "virgin",
    "resuid",
    "localcnt",
    "remotecnt",
  ]);
  assertEquals(step2?.header.u8Array("token"), TOKEN);
});

const REFUSALS: [string, Nv, string][] = [
  ["version 3", firstAnswer(3), "warning Invalid version received (3)."],
  ["no token", new Nv().addU8("version", 2), "has no 'token' field."],
  [
    "an error message",
    new Nv().addString("errmsg", "Resource not configured."),
    "warning Resource not configured.",
  ],
];
for (const [what, answer, line] of REFUSALS) {
  Deno.test(`${what} in the first answer ends the attempt`, () =>
    withSecondary(refusing(answer), (rig) => logs(rig, line)));
}

for (
  const [what, answer, line] of [
    [
      "Data size",
      secondAnswer(4096),
      "Data size differs between nodes (local=16772608, remote=4096).",
    ],
    [
      "Extent size",
      secondAnswer(16772608, 4096),
      "Extent size differs between nodes (local=2097152, remote=4096).",
    ],
  ] as const
) {
  Deno.test(`another ${what} ends the attempt`, () =>
    withSecondary(async (next) => {
      const first = await next();
      await first.receive();
      await first.send(firstAnswer());
      await (await next()).receive();
      await first.send(answer.addU32("mapsize", 0));
      assertEquals(await first.receive(), undefined, "the connection is closed");
    }, (rig) => logs(rig, line)));
}

Deno.test("a map beyond its limits ends the attempt", () =>
  withSecondary(async (next) => {
    const first = await next();
    await first.receive();
    await first.send(firstAnswer());
    await (await next()).receive();
    const header = secondAnswer().addU32("mapsize", 5000).addU32("size", 5000);
    await first.send(header, new Uint8Array(5000));
  }, (rig) => logs(rig, "Cannot take an activemap of 5000 bytes")));

Deno.test("a split-brain is told", () =>
  withSecondary(async (next) => {
    const first = await next();
    await first.receive();
    await first.send(firstAnswer());
    await (await next()).receive();
    await first.send(secondAnswer().addString("errmsg", "Split-brain condition!"));
  }, async (rig) => {
    await logs(rig, "warning Split-brain condition!");
    assertEquals(rig.refused, ["Split-brain condition!"]);
  }));

Deno.test("a version 1 secondary gets frames of version 1", () =>
  withSecondary(async (next) => {
    const first = await next();
    await first.receive();
    await first.send(firstAnswer(1), undefined, 1);
    assertEquals((await (await next()).receive())?.version, 1);
    await first.send(secondAnswer().addU32("mapsize", 0), undefined, 1);
  }, async (rig) => {
    await waitFor("the link", () => rig.established.length === 1);
    assertEquals(rig.established[0]?.version, 1);
    assertEquals(rig.established[0]?.answer.map, undefined);
  }));

Deno.test("while the other node is primary too, it is said once and dialed again", () =>
  withSecondary(async (next) => {
    for (let count = 0; count < 3; count++) {
      const peer = await next();
      await peer.receive();
      const message = "Remote node acts as primary for the resource and not as secondary.";
      await peer.send(new Nv().addString("errmsg", message).addU8("wait", 1));
    }
  }, async (rig) => {
    await waitFor("three attempts", () => rig.refused.length === 3);
    const waiting = rig.logged.filter((line) => line.includes("Waiting for remote node"));
    assertEquals(waiting, ["warning Waiting for remote node to become secondary for 5s."]);
  }));

Deno.test("a secondary that closes at once is dialed again and again", () =>
  withSecondary(async (next) => {
    for (let count = 0; count < 3; count++) (await next()).conn.closeWrite();
  }, async (rig) => {
    await waitFor("three attempts", () => rig.connectionCount === 3);
    await logs(rig, "warning Unable to receive handshake header from tcp4://127.0.0.1:");
    await logs(rig, "Socket is not connected.");
  }));

Deno.test("a secondary that says nothing is given up after the time-out", () =>
  withSecondary(async (next) => {
    await next();
  }, async (rig) => {
    await logs(rig, "Operation timed out.");
  }, { timeoutSeconds: 0.05 }));

Deno.test("a lost link is dialed again, and remote none is not dialed", () =>
  withSecondary(async (next) => {
    const first = await next();
    await first.receive();
    await first.send(firstAnswer());
    await (await next()).receive();
    await first.send(secondAnswer().addU32("mapsize", 0));
    await next();
  }, async (rig) => {
    await waitFor("the link", () => rig.established.length === 1);
    assertEquals(rig.connectionCount, 2);
    const { remoteAddress } = rig.config;
    rig.config = { ...rig.config, remoteAddress: "none" };
    rig.connector.lost("now");
    rig.connector.reconfigured();
    rig.config = { ...rig.config, remoteAddress, timeoutSeconds: 0.05 };
    rig.connector.reconfigured();
    await waitFor("another attempt", () => rig.connectionCount === 3);
  }));

Deno.test("an address where nobody listens, and one that is not ours, are said", async () => {
  const port = (() => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return listener.addr.port;
  })();
  const remoteAddress = `tcp4://127.0.0.1:${port}`;
  await withSecondary(() => Promise.resolve(), async (rig) => {
    await logs(rig, `warning Unable to connect to ${remoteAddress}: Connection refused.`);
  }, { remoteAddress });
  await withSecondary(() => Promise.resolve(), async (rig) => {
    await logs(rig, "Can't assign requested address.");
    assert(rig.connectionCount === 0);
  }, { sourceAddress: "192.0.2.1" });
});

const WITH_SECRET = { secretPaths: ["/a/secret"] };

Deno.test("with a secret, an answer without a proof ends the attempt, and nothing more is said", () =>
  withSecondary(async (next) => {
    const first = await next();
    const said = (await first.receive())?.header;
    assert(said?.has("authproof"), "the primary proves to know the secret");
    await first.send(firstAnswer());
    assertEquals(await first.receive(), undefined, "the connection is closed");
  }, async (rig) => {
    await logs(rig, "warning Authentication failed: tcp4://127.0.0.1:");
    await logs(rig, "offers no authentication.");
    await waitFor("it is told", () => rig.refused.length > 0);
  }, WITH_SECRET));

Deno.test("with a secret, a refusal that anybody could have sent is no split-brain", () =>
  withSecondary(
    refusing(new Nv().addString("errmsg", "Split-brain condition!")),
    async (rig) => {
      await logs(rig, "refuses without a proof (Split-brain condition!).");
      assertEquals(rig.refused.includes("Split-brain condition!"), false);
    },
    WITH_SECRET,
  ));

Deno.test("with a secret, a proven refusal counts as one without", () =>
  withSecondary(async (next) => {
    const peer = await next();
    const request = (await peer.receive())?.header;
    assert(request !== undefined);
    const refusal = new Nv().addString("errmsg", "Remote node acts as init.");
    SecondaryAuthentication.begin(request, [SECRET], availableCiphers()).addToRefusal(refusal);
    await peer.send(refusal);
  }, async (rig) => {
    await logs(rig, "warning Remote node acts as init.");
    assertEquals(rig.refused, ["Remote node acts as init."]);
  }, WITH_SECRET));

Deno.test("with a secret that cannot be used, nobody is dialed", () =>
  withSecondary(() => Promise.resolve(), async (rig) => {
    await logs(rig, "warning Unable to use secret /bad: it is no file.");
    assertEquals(rig.connectionCount, 0);
  }, { secretPaths: ["/bad"] }));

Deno.test("without a secret, a node that asks for one is named", () =>
  withSecondary(
    refusing(new Nv().addString("errmsg", "Authentication required.")),
    async (rig) => {
      await logs(rig, "warning Authentication required: tcp4://127.0.0.1:");
      await logs(rig, "asks for a secret, we have none.");
    },
  ));
