/**
 * What a disk must hold after a stretch of writes of which some were acknowledged and some were
 * cut off: the judge of the chaos test.
 *
 * Every write of a block has a stamp, a number that is used once; stamp 0 stands for zeros (new,
 * trimmed, zeroed). A sector must hold the last acknowledged stamp of its block or one that was
 * begun later. A write that was cut off may have reached the disk in part: the sectors of its block
 * are judged one by one. Requests on the same block are never in flight together.
 * @module
 */

/** What the writer writes at a time. */
export const BLOCK_BYTES = 4096;
/** What no disk writes in part. */
export const SECTOR_BYTES = 512;
/** Stamp of zeros. */
export const ZERO_STAMP = 0;

const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES;
const SECTOR_WORDS = SECTOR_BYTES / 4;
/** Stamp, block, number of the sector, check sum. */
const HEAD_WORDS = 4;
const CHECKSUM_WORD = 3;

/** One block that holds what it must not. */
export interface Finding {
  block: number;
  /** Of the block. */
  sector: number;
  /** What is wrong and what would be right. */
  problem: string;
}

/** Fills one sector: head, then numbers drawn from stamp and place; each fourth stamp compresses. */
function fillSector(words: Uint32Array, stamp: number, block: number, sector: number): void {
  words[0] = stamp;
  words[1] = block;
  words[2] = sector;
  let state = (Math.imul(stamp, 0x9e3779b1) ^ Math.imul(block * 8 + sector + 1, 0x85ebca6b)) | 1;
  let sum = stamp ^ block ^ sector;
  const repeats = stamp % 4 === 0;
  for (let i = HEAD_WORDS; i < SECTOR_WORDS; i++) {
    if (!repeats || i === HEAD_WORDS) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
    }
    words[i] = state;
    sum = Math.imul(sum ^ state, 0x01000193);
  }
  words[CHECKSUM_WORD] = sum;
}

/** The bytes that a write of `stamp` puts into a block. */
export function blockContent(block: number, stamp: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(BLOCK_BYTES);
  if (stamp === ZERO_STAMP) return bytes;
  for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
    const words = new Uint32Array(bytes.buffer, sector * SECTOR_BYTES, SECTOR_WORDS);
    fillSector(words, stamp, block, sector);
  }
  return bytes;
}

/** See the module. */
export class Ledger {
  readonly blockCount: number;
  /** Acknowledged stamp by sector of the disk. */
  readonly #settled: Uint32Array;
  /** Stamps begun since, by block, in their order. */
  readonly #open = new Map<number, number[]>();
  readonly #expected = new Uint32Array(SECTOR_WORDS);
  #lastStamp = 0;
  #acknowledgedCount = 0;

  /** A disk of zeros. */
  constructor(blockCount: number) {
    this.blockCount = blockCount;
    this.#settled = new Uint32Array(blockCount * SECTORS_PER_BLOCK);
  }

  /** Blocks written and acknowledged so far. */
  get acknowledgedCount(): number {
    return this.#acknowledgedCount;
  }

  /** Blocks of which a write was begun whose outcome is open. */
  get openCount(): number {
    return this.#open.size;
  }

  /** A stamp for the next write. */
  newStamp(): number {
    return ++this.#lastStamp;
  }

  /** A write of `stamp` to `block` is about to be sent. */
  begin(block: number, stamp: number): void {
    const open = this.#open.get(block);
    if (open === undefined) this.#open.set(block, [stamp]);
    else if (!open.includes(stamp)) open.push(stamp);
  }

  /** The write of `stamp` that was begun last on `block` has succeeded. */
  acknowledge(block: number, stamp: number): void {
    this.#settled.fill(stamp, block * SECTORS_PER_BLOCK, (block + 1) * SECTORS_PER_BLOCK);
    this.#open.delete(block);
    this.#acknowledgedCount++;
  }

  /**
   * Judges blocks as they were read. None of them may have a write in flight.
   *
   * @param firstBlock The block that `bytes` starts with; `bytes` holds whole blocks.
   * @returns What is wrong first, or undefined.
   */
  check(firstBlock: number, bytes: Uint8Array<ArrayBuffer>): Finding | undefined {
    return this.#walk(firstBlock, bytes, false);
  }

  /**
   * Judges blocks and takes what they hold as settled, open writes included: both nodes hold it.
   * The same arguments and result as {@link check}.
   */
  adopt(firstBlock: number, bytes: Uint8Array<ArrayBuffer>): Finding | undefined {
    return this.#walk(firstBlock, bytes, true);
  }

  #walk(
    firstBlock: number,
    bytes: Uint8Array<ArrayBuffer>,
    adopts: boolean,
  ): Finding | undefined {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let block = firstBlock; block < firstBlock + bytes.length / BLOCK_BYTES; block++) {
      for (let sector = 0; sector < SECTORS_PER_BLOCK; sector++) {
        const index = ((block - firstBlock) * SECTORS_PER_BLOCK + sector) * SECTOR_WORDS;
        const held = words.subarray(index, index + SECTOR_WORDS);
        const problem = this.#judge(held, block, sector);
        if (problem !== undefined) return { block, sector, problem };
        // Zeros have stamp 0 where a head has its stamp.
        if (adopts) this.#settled[block * SECTORS_PER_BLOCK + sector] = held[0] ?? 0;
      }
      if (adopts) this.#open.delete(block);
    }
    return undefined;
  }

  #judge(held: Uint32Array, block: number, sector: number): string | undefined {
    const stamp = held[0] ?? 0;
    const settled = this.#settled[block * SECTORS_PER_BLOCK + sector] ?? 0;
    const open = this.#open.get(block) ?? [];
    const damage = this.#damage(held, stamp, block, sector);
    const allowed = `${settled} is acknowledged` +
      (open.length === 0 ? "" : `, ${open.join(", ")} begun since`);
    if (damage !== undefined) return `${damage}; ${allowed}`;
    if (stamp === settled || open.includes(stamp)) return undefined;
    return `holds write ${stamp}; ${allowed}`;
  }

  /** Why these are not the bytes of `stamp` at this place, or undefined. */
  #damage(
    held: Uint32Array,
    stamp: number,
    block: number,
    sector: number,
  ): string | undefined {
    const expected = this.#expected;
    if (stamp === ZERO_STAMP) expected.fill(0);
    else fillSector(expected, stamp, block, sector);
    for (let i = 0; i < SECTOR_WORDS; i++) {
      if (held[i] === expected[i]) continue;
      return `holds bytes that nobody wrote here (word ${i}; head ${
        [...held.subarray(0, HEAD_WORDS)].join(" ")
      })`;
    }
    return undefined;
  }
}

/** A finding as a line. */
export function describeFinding(finding: Finding): string {
  return `block ${finding.block}, sector ${finding.sector}: ${finding.problem}`;
}
