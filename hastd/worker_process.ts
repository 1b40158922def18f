/**
 * One worker process, as the main process sees it: started, spoken to over its standard input
 * and output, stopped for certain.
 *
 * Its end is reported only after everything that it wrote has been handed on.
 * Source: replication.md, Roles; hastd/worker_channel.ts.
 * @module
 */
import { TextLineStream } from "@std/streams";
import type { LogRecord } from "../base/log.ts";
import { timedOut, within } from "./deadline.ts";
import type {
  FromWorker,
  HookEvent,
  RefusalReason,
  ToWorker,
  WorkerStart,
  WorkerStatus,
} from "./worker_channel.ts";
import { parseWorkerLine } from "./worker_line.ts";

/** A worker that has not ended so long after it was asked to gets SIGTERM. */
export const WORKER_TERM_DELAY_MS = 5_000;
/** A worker that has not ended so long after it was asked to gets SIGKILL. */
export const WORKER_KILL_DELAY_MS = 20_000;
/** A worker that has not told its status by then is listed without. */
export const WORKER_STATUS_TIMEOUT_MS = 5_000;
/** Bringing a component back reads its metadata, perhaps from a disk that is slow to fail. */
export const WORKER_ATTACH_TIMEOUT_MS = 60_000;
/** So many questions may wait for one worker. */
export const WORKER_QUESTIONS_MAX = 64;
/** Whatever still holds a dead worker's output open is not waited for any longer than this. */
const OUTPUT_DRAIN_MS = 1_000;
/** The longest line of a worker's standard error that is logged, in UTF-16 units. */
const ERROR_LINE_LENGTH_MAX = 1_024;

/** The program that is a worker, without what it is to do: that comes over its input. */
export interface WorkerCommand {
  path: string;
  args: string[];
}

/** How a worker ended. */
export interface WorkerExit {
  /** The exit code; meaningless where `signal` is set. */
  code: number;
  /** The number of the signal that killed it. */
  signal: number | undefined;
}

/** What a worker has to say. */
export interface WorkerHandlers {
  ready(): void;
  log(record: LogRecord): void;
  event(event: HookEvent, reason: string | undefined): void;
  /** A handshake was turned down. */
  refused(reason: RefusalReason, message: string): void;
  /** A line of its standard error, which only a crash writes, or one that made no sense. */
  complaint(line: string): void;
}

/** A message that answers a question. */
type Answer = FromWorker & { id: number };

/** Deadlines of {@link WorkerProcess.stop}, for tests. */
export interface StopDelays {
  termMs: number;
  killMs: number;
}

const DELAYS: StopDelays = { termMs: WORKER_TERM_DELAY_MS, killMs: WORKER_KILL_DELAY_MS };

/** A running (or ended) worker process. */
export class WorkerProcess {
  readonly pid: number;
  /** Settles once, when the process is gone and its output has been read; never rejects. */
  readonly ended: Promise<WorkerExit>;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #handlers: WorkerHandlers;
  /** Settles when the role is active, or the process gone. */
  readonly #settled: Promise<unknown>;
  #becameReady: () => void = () => {};
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>();
  #lastId = 0;
  #stopping = false;
  #finished = false;

  /**
   * Starts the process and hands it `start`. Synchronous up to and including the fork, so that
   * descriptors may be made inheritable around this call only.
   *
   * @throws What Deno.Command throws when there is no such program or no process to be had.
   */
  constructor(command: WorkerCommand, start: WorkerStart, handlers: WorkerHandlers) {
    this.#handlers = handlers;
    this.#child = new Deno.Command(command.path, {
      // What ps(1) shows until the worker sets its title, and room for that title.
      args: [...command.args, `hastd: ${start.resource.name} (${start.role})`],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.pid = this.#child.pid;
    this.#input = this.#child.stdin.getWriter();
    this.#send(start);
    const drained = Promise.all([
      this.#eachLine(this.#child.stdout, (line) => this.#receive(line)),
      this.#eachLine(this.#child.stderr, (line) => this.#complain(line)),
    ]);
    this.ended = this.#child.status.then(async (status) => {
      await within(drained, OUTPUT_DRAIN_MS);
      this.#finish();
      const signal = status.signal === null ? undefined : status.code - 128;
      return { code: status.code, signal };
    });
    this.#settled = Promise.race([
      new Promise<void>((resolve) => this.#becameReady = resolve),
      this.ended,
    ]);
  }

  /** Waits until the role is active (the provider is there) or the process gone, within limits. */
  async settled(timeoutMs: number): Promise<void> {
    await within(this.#settled, timeoutMs);
  }

  /** True from the moment {@link stop} was called. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /** Asks for the figures of `hastctl list`; undefined when no answer comes in time. */
  async status(timeoutMs = WORKER_STATUS_TIMEOUT_MS): Promise<WorkerStatus | undefined> {
    const answer = await this.#ask("status", timeoutMs);
    return answer?.type === "status" ? answer.status : undefined;
  }

  /** Asks to bring the local component back; undefined when no answer comes in time. */
  async attach(
    timeoutMs = WORKER_ATTACH_TIMEOUT_MS,
  ): Promise<{ wasOutOfService: boolean; errno: number } | undefined> {
    const answer = await this.#ask("attach", timeoutMs);
    return answer?.type === "attached" ? answer : undefined;
  }

  async #ask(type: "status" | "attach", timeoutMs: number): Promise<Answer | undefined> {
    if (this.#waiting.size >= WORKER_QUESTIONS_MAX || this.#finished) return undefined;
    const id = ++this.#lastId;
    const answered = new Promise<Answer | undefined>((resolve) => this.#waiting.set(id, resolve));
    this.#send({ type, id });
    const answer = await within(answered, timeoutMs);
    this.#waiting.delete(id);
    return answer === timedOut ? undefined : answer;
  }

  /** Hands over a changed configuration; the worker logs what it makes of it. */
  reload(resource: WorkerStart["resource"]): void {
    this.#send({ type: "reload", resource });
  }

  /** Asks the worker to end, insists, kills it, and settles only when it is really gone. */
  async stop(delays: StopDelays = DELAYS): Promise<WorkerExit> {
    if (!this.#stopping) {
      this.#stopping = true;
      this.#send({ type: "stop" });
    }
    if (await within(this.ended, delays.termMs) === timedOut) this.#kill("SIGTERM");
    if (await within(this.ended, delays.killMs - delays.termMs) === timedOut) this.#kill("SIGKILL");
    return await this.ended;
  }

  #kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It ended between the deadline and this call; `ended` tells.
    }
  }

  #send(message: ToWorker): void {
    const line = new TextEncoder().encode(`${JSON.stringify(message)}\n`);
    // A failure means that the worker is gone, which `ended` reports with the reason.
    this.#input.write(line).catch(() => {});
  }

  async #eachLine(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    take: (line: string) => void,
  ): Promise<void> {
    const lines = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
    for await (const line of lines) take(line);
  }

  #receive(line: string): void {
    const message = parseWorkerLine(line);
    switch (message?.type) {
      case "ready":
        this.#becameReady();
        this.#handlers.ready();
        break;
      case "log":
        this.#handlers.log(message.record);
        break;
      case "event":
        this.#handlers.event(message.event, message.reason);
        break;
      case "refused":
        this.#handlers.refused(message.reason, message.message);
        break;
      case "status":
      case "attached":
        this.#waiting.get(message.id)?.(message);
        break;
      case undefined:
        this.#complain(line);
        break;
    }
  }

  #complain(line: string): void {
    if (line !== "") this.#handlers.complaint(line.slice(0, ERROR_LINE_LENGTH_MAX));
  }

  #finish(): void {
    this.#finished = true;
    this.#input.abort().catch(() => {});
    for (const resolve of this.#waiting.values()) resolve(undefined);
    this.#waiting.clear();
  }
}
