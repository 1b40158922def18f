/**
 * The only source of chance in a simulation: everything in a run is a function of its seed.
 * @module
 */

/** xorshift128 by Marsaglia: small, fast, good enough to draw schedules. */
export class Random {
  #a: number;
  #b: number;
  #c = 362436069;
  #d = 521288629;

  constructor(seed: number) {
    this.#a = (seed ^ 123456789) >>> 0;
    this.#b = (Math.imul(seed, 2654435761) ^ 88675123) >>> 0;
    for (let i = 0; i < 16; i++) this.u32();
  }

  u32(): number {
    const t = this.#d;
    const s = this.#a;
    this.#d = this.#c;
    this.#c = this.#b;
    this.#b = s;
    let x = t ^ (t << 11);
    x ^= x >>> 8;
    this.#a = (x ^ s ^ (s >>> 19)) >>> 0;
    return this.#a;
  }

  /** 0..limit-1. */
  below(limit: number): number {
    return this.u32() % limit;
  }

  chance(probability: number): boolean {
    return this.u32() < probability * 4294967296;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to pick from");
    return item;
  }
}
