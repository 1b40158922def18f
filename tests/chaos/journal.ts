/**
 * What happened in a round, for whoever has to find out why it failed: the steps with their times,
 * and in a file every request that was begun and every answer.
 * @module
 */

const BUFFERED_LENGTH_MAX = 1 << 16;

/** See the module. */
export class Journal implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #startMs = performance.now();
  readonly #steps: string[] = [];
  #buffered = "";

  /** @param path Of the file with the requests; an old one is overwritten. */
  constructor(readonly path: string) {
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
  }

  /** A step of the round. */
  note(text: string): void {
    const line = `${this.#time()} ${text}`;
    this.#steps.push(line);
    this.request(`--- ${text}`);
  }

  /** A request was begun or answered. */
  request(text: string): void {
    this.#buffered += `${this.#time()} ${text}\n`;
    if (this.#buffered.length > BUFFERED_LENGTH_MAX) this.#write();
  }

  /** The steps so far, one a line. */
  timeline(): string {
    return this.#steps.join("\n");
  }

  [Symbol.dispose](): void {
    this.#write();
    this.#file.close();
  }

  #time(): string {
    return ((performance.now() - this.#startMs) / 1000).toFixed(3).padStart(8);
  }

  #write(): void {
    const bytes = new TextEncoder().encode(this.#buffered);
    this.#buffered = "";
    for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
  }
}
