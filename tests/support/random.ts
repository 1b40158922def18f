/**
 * Random numbers from a seed, so that a failed run can be repeated: HAST_TEST_SEED=N.
 * @module
 */

/** The seed of this run; print it when a test fails. */
export function testSeed(): number {
  const wanted = Deno.env.get("HAST_TEST_SEED");
  return wanted === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(wanted);
}

/** xorshift32: plenty for choosing sizes and places, and fast enough to fill buffers. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Spread small seeds over the state, which must not be 0.
    this.#state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1) >>> 0;
  }

  /** The next 32 bits. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** A whole number in 0 .. `end` - 1. */
  below(end: number): number {
    return Math.floor(this.next() / 2 ** 32 * end);
  }

  /** A multiple of `unit` in `unit` .. `max`, each power of two of units about as likely. */
  sizeUpTo(max: number, unit: number): number {
    const exponent = Math.log2(max / unit) * (this.next() / 2 ** 32);
    return unit * Math.max(1, Math.floor(2 ** exponent));
  }

  /** New bytes; `byteCount` is a multiple of 4. */
  bytes(byteCount: number): Uint8Array<ArrayBuffer> {
    const words = new Uint32Array(byteCount / 4);
    for (let i = 0; i < words.length; i++) words[i] = this.next();
    return new Uint8Array(words.buffer);
  }
}
