/**
 * The user of the disk: an NBD client with many requests in flight that never overlap, and that
 * enters every write in the ledger. It follows the primary: when its connection ends, it connects
 * to wherever it is sent, as a cluster's clients do, and goes on.
 * @module
 */
import { COMMAND, FLAG, NbdClient, NbdError, type Request } from "../support/nbd_client.ts";
import type { Random } from "../support/random.ts";
import { waitFor, within } from "../support/wait.ts";
import type { Journal } from "./journal.ts";
import type { Round } from "./plan.ts";
import { BLOCK_BYTES, blockContent, describeFinding, Ledger, ZERO_STAMP } from "./ledger.ts";

const QUEUE_DEPTH = 16;
/** Most blocks of one request; 128 KiB. */
const REQUEST_BLOCKS_MAX = 32;
/** Half of the requests go to a window of so many blocks, so that extents are written again. */
const HOT_BLOCKS = 512;
/** How long requests may stay unanswered once the pair is whole again. */
const ANSWER_DEADLINE_MS = 30_000;
/** A sparse load: so many requests of a lane, then a pause of at most so long. */
const SPARSE_REQUESTS = 4;
const SPARSE_PAUSE_MS_MAX = 200;
const CONNECT_RETRY_MS = 20;
/** The server is about to end: the role changes. */
const ESHUTDOWN = 108;

/** One request with its place and, where it changes data, its stamp. */
interface Operation {
  name: string;
  request: Request;
  firstBlock: number;
  blockCount: number;
  /** Undefined for reads and flushes. */
  stamp: number | undefined;
}

/** What a writer works on. */
export interface WriterEnv {
  ledger: Ledger;
  random: Random;
  journal: Journal;
  exportName: string;
  load: Round["load"];
}

/** See the module. */
export class Writer {
  readonly #env: WriterEnv;
  readonly #busy = new Set<number>();
  #socketPath: string | undefined;
  #stopping = false;
  #paused = false;
  #resumed = Promise.withResolvers<void>();
  #errorsAllowed = false;
  #problem: Error | undefined;
  #operationCount = 0;
  #inFlightCount = 0;
  #lastAnswerMs = performance.now();
  #longestGapMs = 0;
  #loop: Promise<void> | undefined;

  constructor(env: WriterEnv) {
    this.#env = env;
  }

  /** The longest time without any write being acknowledged, in milliseconds. */
  get longestGapMs(): number {
    return Math.max(this.#longestGapMs, performance.now() - this.#lastAnswerMs);
  }

  /** What went wrong: a read returned what it must not, or a request failed that must not. */
  get problem(): Error | undefined {
    return this.#problem;
  }

  /** Where to connect from now on; undefined: nowhere, until told. A connection that stands stays. */
  aim(socketPath: string | undefined): void {
    this.#socketPath = socketPath;
  }

  /** Whether requests may be answered with errors, as while a component fails. */
  allowErrors(allowed: boolean): void {
    this.#errorsAllowed = allowed;
  }

  /** Begins to write. */
  start(): void {
    this.#loop = this.#run();
  }

  /** Waits until something is acknowledged that was not when this was called. */
  async waitProgress(what: string, deadlineMs: number): Promise<void> {
    const before = this.#env.ledger.acknowledgedCount;
    await waitFor(
      `a write is acknowledged: ${what}`,
      () => this.#problem !== undefined || this.#env.ledger.acknowledgedCount > before,
      deadlineMs,
    );
    this.throwProblem();
  }

  /** Lets it write for a while; ends at once when something is wrong. */
  async writeFor(durationMs: number): Promise<void> {
    const endMs = performance.now() + durationMs;
    await waitFor(
      "the time is over",
      () => this.#problem !== undefined || performance.now() >= endMs,
      durationMs + ANSWER_DEADLINE_MS,
    );
    this.throwProblem();
  }

  /** Begins nothing more, until {@link resume}; ends once all requests in flight are answered. */
  async pause(): Promise<void> {
    this.#paused = true;
    await waitFor(
      "all requests are answered",
      () => this.#problem !== undefined || this.#inFlightCount === 0,
      ANSWER_DEADLINE_MS,
    );
    this.throwProblem();
  }

  /** Goes on after {@link pause}. */
  resume(): void {
    this.#paused = false;
    this.#resumed.resolve();
    this.#resumed = Promise.withResolvers();
  }

  /**
   * Ends once all requests in flight are answered.
   *
   * @throws {Error} They were not, or something was wrong before.
   */
  async stop(): Promise<void> {
    this.abandon();
    if (this.#loop !== undefined) {
      await within("all requests are answered", this.#loop, ANSWER_DEADLINE_MS);
    }
    this.throwProblem();
  }

  /** Tells it to end, and does not wait. */
  abandon(): void {
    this.#stopping = true;
    this.resume();
  }

  throwProblem(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const client = await this.#connect();
      if (client === undefined) continue;
      this.#env.journal.note(`the writer is connected`);
      await Promise.all(Array.from({ length: QUEUE_DEPTH }, () => this.#lane(client)));
      await client[Symbol.asyncDispose]();
    }
  }

  get #isOver(): boolean {
    return this.#stopping || this.#problem !== undefined;
  }

  async #connect(): Promise<NbdClient | undefined> {
    try {
      if (this.#socketPath !== undefined) {
        return await NbdClient.connect(this.#socketPath, this.#env.exportName);
      }
    } catch {
      // Nobody serves there at the moment.
    }
    await delay(CONNECT_RETRY_MS);
    return undefined;
  }

  /** One request after the other, until the connection ends or the writer is stopped. */
  async #lane(client: NbdClient): Promise<void> {
    for (let count = 1; !this.#isOver; count++) {
      if (this.#paused) {
        await this.#resumed.promise;
        continue;
      }
      if (this.#env.load === "sparse" && count % SPARSE_REQUESTS === 0) {
        await delay(this.#env.random.below(SPARSE_PAUSE_MS_MAX));
        continue;
      }
      const operation = this.#draw();
      if (!await this.#perform(client, operation)) return;
    }
  }

  /** False when the connection is of no use any more. */
  async #perform(client: NbdClient, operation: Operation): Promise<boolean> {
    const number = ++this.#operationCount;
    this.#begin(operation, number);
    this.#inFlightCount++;
    try {
      const data = await client.send(operation.request);
      this.#answered(operation, number, data);
      return true;
    } catch (error) {
      return this.#failed(operation, number, error);
    } finally {
      this.#inFlightCount--;
      for (const block of blocksOf(operation)) this.#busy.delete(block);
    }
  }

  #begin(operation: Operation, number: number): void {
    const { name, firstBlock, blockCount, stamp } = operation;
    for (const block of blocksOf(operation)) {
      this.#busy.add(block);
      if (stamp !== undefined) this.#env.ledger.begin(block, stamp);
    }
    const write = stamp === undefined ? "" : ` #${stamp}`;
    this.#env.journal.request(`${number} ${name} ${firstBlock}+${blockCount}${write}`);
  }

  #answered(operation: Operation, number: number, data: Uint8Array): void {
    const { ledger, journal } = this.#env;
    journal.request(`${number} done`);
    const { stamp } = operation;
    if (operation.request.command === COMMAND.read) {
      const finding = ledger.check(operation.firstBlock, data.slice());
      if (finding === undefined) return;
      this.#fail(`A read returned what it must not: ${describeFinding(finding)}`);
    } else if (stamp !== undefined) {
      for (const block of blocksOf(operation)) ledger.acknowledge(block, stamp);
      this.#noteAnswer();
    }
  }

  #noteAnswer(): void {
    const nowMs = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastAnswerMs);
    this.#lastAnswerMs = nowMs;
  }

  #failed(operation: Operation, number: number, error: unknown): boolean {
    this.#env.journal.request(`${number} failed: ${error}`);
    if (!(error instanceof NbdError)) return false;
    if (error.errno === ESHUTDOWN) return false;
    if (!this.#errorsAllowed) {
      const place = `${operation.firstBlock}+${operation.blockCount}`;
      this.#fail(`${operation.name} of blocks ${place} failed: ${error.message}`);
    }
    return true;
  }

  #fail(text: string): void {
    this.#env.journal.note(text);
    this.#problem ??= new Error(text);
  }

  // ---- what to do next ----

  #draw(): Operation {
    const { random } = this.#env;
    const dice = random.below(100);
    if (dice < 2) return flush();
    const blockCount = dice < 75 ? 1 : 1 + random.below(REQUEST_BLOCKS_MAX);
    const firstBlock = this.#freeBlocks(blockCount);
    const place = { firstBlock, blockCount };
    if (dice < 60 || dice >= 90) return this.#write(place, dice >= 97 ? FLAG.fua : 0);
    if (dice < 84) return read(place);
    return dice < 87
      ? zeros("trim", COMMAND.trim, place)
      : zeros("zero", COMMAND.writeZeroes, place);
  }

  /** The first of `blockCount` blocks that no request in flight touches. */
  #freeBlocks(blockCount: number): number {
    const { random, ledger } = this.#env;
    for (;;) {
      const hot = random.below(2) === 0;
      const first = random.below((hot ? HOT_BLOCKS : ledger.blockCount) - blockCount + 1);
      let free = true;
      for (let block = first; block < first + blockCount; block++) {
        if (this.#busy.has(block)) free = false;
      }
      if (free) return first;
    }
  }

  #write(place: Pick<Operation, "firstBlock" | "blockCount">, flags: number): Operation {
    const stamp = this.#env.ledger.newStamp();
    const data = new Uint8Array(place.blockCount * BLOCK_BYTES);
    for (let i = 0; i < place.blockCount; i++) {
      data.set(blockContent(place.firstBlock + i, stamp), i * BLOCK_BYTES);
    }
    const offsetBytes = place.firstBlock * BLOCK_BYTES;
    const request = { command: COMMAND.write, flags, offsetBytes, data };
    return { ...place, name: "write", request, stamp };
  }
}

function delay(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}

function* blocksOf({ firstBlock, blockCount }: Operation): Generator<number> {
  for (let block = firstBlock; block < firstBlock + blockCount; block++) yield block;
}

function flush(): Operation {
  const request = { command: COMMAND.flush };
  return { name: "flush", request, firstBlock: 0, blockCount: 0, stamp: undefined };
}

function read(place: Pick<Operation, "firstBlock" | "blockCount">): Operation {
  return { ...place, name: "read", request: range(COMMAND.read, place), stamp: undefined };
}

function zeros(
  name: string,
  command: number,
  place: Pick<Operation, "firstBlock" | "blockCount">,
): Operation {
  return { ...place, name, request: range(command, place), stamp: ZERO_STAMP };
}

function range(
  command: number,
  { firstBlock, blockCount }: Pick<Operation, "firstBlock" | "blockCount">,
): Request {
  return {
    command,
    offsetBytes: firstBlock * BLOCK_BYTES,
    lengthBytes: blockCount * BLOCK_BYTES,
  };
}
