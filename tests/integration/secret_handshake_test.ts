/** The main process's part of a handshake with a secret, between steps one and two. */
import { assert, assertEquals } from "@std/assert";
import { FrameStream } from "../../hastd/frame_stream.ts";
import { HALF_OPEN_MAX } from "../../hastd/half_open.ts";
import { encodeFrame } from "../../protocol/frame.ts";
import { Nv } from "../../protocol/nv.ts";
import { PrimaryAuthentication, secretKey, SEED_BYTES } from "../../protocol/secure.ts";
import { availableCiphers } from "../../protocol/secure_record.ts";
import { type MainProcess, resourceConfig, withMainProcess } from "../support/main_process.ts";
import { waitFor } from "../support/wait.ts";

const SECRET = new TextEncoder().encode("a secret of two nodes, for this test only");
const TIMEOUT_MS = 5_000;

/** Runs a test with a main process that has a resource `data` with a secret. */
async function withSecret(
  role: "init" | "secondary",
  test: (main: MainProcess) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "hast-secret-" });
  try {
    await Deno.writeFile(path, SECRET);
    await withMainProcess([resourceConfig("data", { secretPaths: [path] })], async (main) => {
      if (role === "secondary") await main.supervisor.find("data")?.setRole(role, "control");
      await test(main);
    });
  } finally {
    await Deno.remove(path);
  }
}

/** A primary that knows the secret. */
class Primary implements Disposable {
  readonly #port: number;
  readonly #authentication: PrimaryAuthentication;
  readonly #conns: Deno.TcpConn[] = [];
  #token = new Uint8Array(0);

  constructor({ port }: MainProcess) {
    this.#port = port;
    const key = secretKey(SECRET);
    assert(key !== undefined);
    const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
    this.#authentication = new PrimaryAuthentication(key, availableCiphers(), seed);
  }

  /** The answer to the first step. */
  async ask(): Promise<Nv> {
    const request = new Nv().addString("resource", "data").addU8("version", 2);
    this.#authentication.addTo(request);
    return (await (await this.#send(request)).read(TIMEOUT_MS)).header;
  }

  /** The first step, which must succeed. */
  async firstStep(): Promise<void> {
    const answer = await this.ask();
    this.#authentication.check(answer);
    this.#token = answer.u8Array("token") ?? this.#token;
  }

  isProven(refusal: Nv): boolean {
    return this.#authentication.isProven(refusal);
  }

  /** The second step; nobody answers on its connection unless it is refused. */
  async secondStep(): Promise<FrameStream> {
    const request = new Nv().addString("resource", "data").addU8Array("token", this.#token);
    const counters = new Nv().addU64("resuid", 66).addU64("localcnt", 1).addU64("remotecnt", 2);
    this.#authentication.seal(request, counters);
    return await this.#send(request);
  }

  /** Whether the first connection has ended. */
  async isClosed(): Promise<boolean> {
    return await this.#conns[0]?.read(new Uint8Array(1)) === null;
  }

  async #send(header: Nv): Promise<FrameStream> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    this.#conns.push(conn);
    const stream = new FrameStream(conn, 16_384);
    await stream.write(encodeFrame(2, header), TIMEOUT_MS);
    return stream;
  }

  [Symbol.dispose](): void {
    for (const conn of this.#conns) conn.close();
  }
}

function workerPid(main: MainProcess): number {
  return main.supervisor.find("data")?.workerPid ?? 0;
}

async function started(main: MainProcess, count: number): Promise<void> {
  await waitFor(`${count} workers were started`, () => {
    const lines = main.recorder.lines.filter((line) =>
      line.endsWith("Fake worker started with 66.")
    );
    return lines.length === count;
  });
}

Deno.test("a first step takes nobody's place, a second step that is proven does", () =>
  withSecret("secondary", async (main) => {
    using old = new Primary(main);
    await old.firstStep();
    await old.secondStep();
    await started(main, 1);
    const pid = workerPid(main);
    using young = new Primary(main);
    await young.firstStep();
    assertEquals(workerPid(main), pid);
    await young.secondStep();
    await started(main, 2);
    assert(workerPid(main) !== pid, "the worker of the old link has ended");
  }));

Deno.test("so many first steps may wait; with one more the oldest has to go", () =>
  withSecret("secondary", async (main) => {
    const all = Array.from({ length: HALF_OPEN_MAX + 1 }, () => new Primary(main));
    try {
      for (const each of all) await each.firstStep();
      const [oldest, next] = all;
      assert(await oldest?.isClosed(), "the oldest connection is closed");
      const refusal = await (await oldest?.secondStep())?.read(TIMEOUT_MS);
      assertEquals(refusal?.header.string("errmsg"), "Token doesn't match.");
      await next?.secondStep();
      await started(main, 1);
      for (const each of all.slice(2)) assert(await each.isClosed(), "the others have no chance");
    } finally {
      for (const each of all) each[Symbol.dispose]();
    }
  }));

Deno.test("a second step counts once", () =>
  withSecret("secondary", async (main) => {
    using primary = new Primary(main);
    await primary.firstStep();
    await primary.secondStep();
    await started(main, 1);
    const again = await (await primary.secondStep()).read(TIMEOUT_MS);
    assertEquals(again.header.string("errmsg"), "Token doesn't match.");
    await started(main, 1);
  }));

Deno.test("only who has proven to know the secret is told the role, and can believe it", () =>
  withSecret("init", async (main) => {
    using primary = new Primary(main);
    const refusal = await primary.ask();
    const message = "Remote node acts as init for the resource and not as secondary.";
    assertEquals(refusal.string("errmsg"), message);
    assert(primary.isProven(refusal));
    assert(!primary.isProven(refusal.without("authproof")));
  }));
