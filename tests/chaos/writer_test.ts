/** The writer: what it enters in the ledger is what a disk holds, and a bad disk is noticed. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Random, testSeed } from "../support/random.ts";
import { waitFor } from "../support/wait.ts";
import { Journal } from "./journal.ts";
import { BLOCK_BYTES, Ledger } from "./ledger.ts";
import { Writer } from "./writer.ts";

const BLOCK_COUNT = 1024;
const ENOUGH_WRITES = 2_000;
const PROGRAM = new URL("../support/nbd_file_server.ts", import.meta.url).pathname;

/** A file served over NBD, a ledger and a writer that is pointed at it. */
class Rig implements AsyncDisposable {
  readonly #folder = Deno.makeTempDirSync({ prefix: "hast-test-" });
  readonly diskPath = `${this.#folder}/disk`;
  readonly socketPath = `${this.#folder}/socket`;
  readonly ledger = new Ledger(BLOCK_COUNT);
  readonly journal = new Journal(`${this.#folder}/requests.log`);
  readonly writer = new Writer({
    ledger: this.ledger,
    journal: this.journal,
    random: new Random(testSeed()),
    exportName: "disk",
    load: "dense",
  });
  #server: Deno.ChildProcess | undefined;

  constructor() {
    Deno.writeFileSync(this.diskPath, new Uint8Array(BLOCK_COUNT * BLOCK_BYTES));
  }

  async serve(): Promise<void> {
    this.#server = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "-A", "--cached-only", PROGRAM, this.diskPath, this.socketPath],
      stdin: "piped",
      stdout: "null",
    }).spawn();
    await waitFor("the server listens", async () => {
      try {
        (await Deno.connect({ transport: "unix", path: this.socketPath })).close();
        return true;
      } catch {
        return false; // Not yet.
      }
    });
  }

  async kill(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    server.kill("SIGKILL");
    await server.status;
    await server.stdin.abort().catch(() => {}); // The other end is gone.
    Deno.removeSync(this.socketPath);
  }

  async writeSome(): Promise<void> {
    const end = this.ledger.acknowledgedCount + ENOUGH_WRITES;
    await waitFor("enough writes", () => {
      return this.writer.problem !== undefined || this.ledger.acknowledgedCount >= end;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.writer.abandon();
    await this.kill();
    this.journal[Symbol.dispose]();
    Deno.removeSync(this.#folder, { recursive: true });
  }
}

Deno.test("chaos writer: the ledger agrees with the disk, across crashes of the server", async () => {
  await using rig = new Rig();
  await rig.serve();
  rig.writer.aim(rig.socketPath);
  rig.writer.start();
  for (let crash = 0; crash < 3; crash++) {
    await rig.writeSome();
    await rig.kill();
    await rig.serve();
  }
  await rig.writeSome();
  await rig.writer.stop();
  assertEquals(rig.ledger.check(0, Deno.readFileSync(rig.diskPath)), undefined);
});

Deno.test("chaos writer: a pause is one, and what was written then stays", async () => {
  await using rig = new Rig();
  await rig.serve();
  rig.writer.aim(rig.socketPath);
  rig.writer.start();
  await rig.writeSome();
  await rig.writer.pause();
  const data = Deno.readFileSync(rig.diskPath);
  assertEquals(rig.ledger.openCount, 0);
  assertEquals(rig.ledger.adopt(0, data.slice()), undefined);
  rig.writer.resume();
  await rig.writeSome();
  await rig.writer.stop();
  assert(rig.ledger.check(0, data) !== undefined, "the disk was written again");
});

Deno.test("chaos writer: a disk that forgets is noticed by its reads", async () => {
  await using rig = new Rig();
  await rig.serve();
  rig.writer.aim(rig.socketPath);
  rig.writer.start();
  await rig.writeSome();
  await rig.writer.pause();
  Deno.writeFileSync(rig.diskPath, new Uint8Array(BLOCK_COUNT * BLOCK_BYTES));
  rig.writer.resume();
  await rig.writeSome();
  await assertRejects(() => rig.writer.stop(), Error, "A read returned what it must not");
});
