/**
 * Users of the provider: what they ask for, and what they were told.
 * @module
 */
import type { Primary } from "../../core/primary.ts";
import { UserCommand, UserRequest } from "../../core/request.ts";
import { heapBuffer, SECTOR_BYTES } from "./memory_disk.ts";
import type { Model, WriteHandle } from "./model.ts";
import { type Node, type PrimaryProcess, SECTOR_COUNT, stamp, versionAt } from "./node.ts";
import type { Plan } from "./plan.ts";
import type { Random } from "./random.ts";

export interface UsersOptions {
  readonly plan: Plan;
  readonly random: Random;
  readonly model: Model;
  readonly other: (node: Node) => Node;
  readonly note: (text: string) => void;
}

/** The users of one primary, until it dies. */
interface Session {
  alive: boolean;
}

export class Users {
  readonly #options: UsersOptions;
  issuedCount = 0;
  inFlightCount = 0;
  #version = 0;
  #session: Session = { alive: true };
  readonly #busy = new Map<number, number>();

  constructor(options: UsersOptions) {
    this.#options = options;
  }

  /** The primary has died: nobody will be told of anything. */
  abandon(): void {
    this.#session.alive = false;
    this.#session = { alive: true };
    this.inFlightCount = 0;
    this.#busy.clear();
    this.#options.model.abandon();
  }

  issue(node: Node, process: PrimaryProcess): void {
    const { plan, random } = this.#options;
    this.issuedCount++;
    const count = 1 + random.below(random.chance(0.2) ? 16 : 3);
    const first = random.below(SECTOR_COUNT - count + 1);
    const kind = random.below(10);
    if (random.chance(plan.flushChance)) this.#flush(process.primary);
    else if (kind <= 3) this.#read(process.primary, first, count);
    else if (!this.#overlaps(first, count) || random.chance(plan.overlapChance)) {
      this.write(node, process, { first, count, kind });
    }
  }

  #overlaps(first: number, count: number): boolean {
    for (let s = first; s < first + count; s++) {
      if ((this.#busy.get(s) ?? 0) > 0) return true;
    }
    return false;
  }

  #occupy(first: number, count: number, by: number): void {
    for (let s = first; s < first + count; s++) this.#busy.set(s, (this.#busy.get(s) ?? 0) + by);
  }

  #submit(primary: Primary, request: UserRequest): void {
    this.inFlightCount++;
    primary.submit(request);
  }

  #answered(session: Session): void {
    if (!session.alive) throw new Error("a dead primary answers");
    this.inFlightCount--;
  }

  #flush(primary: Primary): void {
    const { model } = this.#options;
    const session = this.#session;
    const begunAt = model.beginFlush();
    const request = new UserRequest(({ errno }) => {
      this.#answered(session);
      if (errno === 0) model.flushed(begunAt);
    });
    request.command = UserCommand.flush;
    this.#submit(primary, request);
  }

  #read(primary: Primary, first: number, count: number): void {
    const { model } = this.#options;
    const session = this.#session;
    const buffer = heapBuffer(count * SECTOR_BYTES);
    const handle = model.beginRead(first, count);
    const request = new UserRequest(({ errno }) => {
      this.#answered(session);
      model.endRead(handle);
      if (errno !== 0) return;
      for (let s = 0; s < count; s++) {
        model.check(first + s, versionAt(buffer.bytes, s * SECTOR_BYTES), "read", handle);
      }
    });
    request.command = UserCommand.read;
    request.offsetBytes = first * SECTOR_BYTES;
    request.lengthBytes = count * SECTOR_BYTES;
    request.buffer = buffer;
    this.#submit(primary, request);
  }

  /** Remembers of a write what the other node lacks, and ought to be known to lack. */
  #acknowledged(node: Node, primary: Primary, { first, versions }: WriteHandle): void {
    const { other, plan } = this.#options;
    if (plan.overlapChance > 0) return; // Which of two the other node has had is not known.
    // While connected, only fullsync has waited until it must be there; what happens to it later,
    // on the other side of a link that has broken, this node cannot know.
    if (primary.connected && (plan.mode !== "fullsync" || node.link?.broken !== false)) return;
    versions.forEach(({ content }, index) => {
      const sector = first + index;
      const old = other(node).versionAt(sector);
      if (old === content) return;
      node.alone.set(sector, { content, old });
      if (node.behind) {
        throw new Error(`${node.name} is behind and has taken a write alone at ${sector}`);
      }
    });
  }

  /** Zeros look the same whoever wrote them: what was remembered does not tell any more. */
  #forgetAlone(node: Node, first: number, count: number): void {
    for (let s = first; s < first + count; s++) {
      node.alone.delete(s);
      this.#options.other(node).alone.delete(s);
    }
  }

  /** @param range `kind` 4 zeroes, 5 deletes, any other writes. */
  write(
    node: Node,
    { primary, pool }: PrimaryProcess,
    { first, count, kind }: { first: number; count: number; kind: number },
  ): void {
    const { model, note, plan, random } = this.#options;
    const session = this.#session;
    const version = ++this.#version;
    const zeros = kind === 4 || kind === 5;
    const name = `${node.name}: ${zeros ? "zero" : "write"} ${version} at ${first}+${count}`;
    const fua = random.chance(plan.flushChance);
    if (!primary.connected) node.issuedAlone = true;
    this.#occupy(first, count, 1);
    if (zeros) this.#forgetAlone(node, first, count);
    const handle = model.begin(first, count, zeros ? 0 : version);
    const request = new UserRequest(({ errno }) => {
      this.#answered(session);
      note(`${name} done: ${errno}`);
      this.#occupy(first, count, -1);
      model.end(handle, errno === 0, fua);
      if (errno === 0) this.#acknowledged(node, primary, handle);
    });
    request.command = !zeros
      ? UserCommand.write
      : kind === 4
      ? UserCommand.zero
      : UserCommand.delete;
    request.offsetBytes = first * SECTOR_BYTES;
    request.lengthBytes = count * SECTOR_BYTES;
    request.fua = fua;
    if (!zeros) {
      request.buffer = pool.take(request.lengthBytes);
      for (let s = 0; s < count; s++) stamp(request.buffer.bytes, s * SECTOR_BYTES, version);
    }
    note(name);
    this.#submit(primary, request);
  }
}
