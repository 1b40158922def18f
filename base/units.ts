/**
 * Numbers as people write and read them.
 *
 * Source: expand_number(3), humanize_number(3) with HN_NOSPACE | HN_DECIMAL in 5 bytes;
 * control.md, hastctl.
 * @module
 */

const U64_MAX = (1n << 64n) - 1n;
const DIVISOR = 1024n;
const PREFIXES = ["", "K", "M", "G", "T", "P", "E"] as const;
/** What humanize_number(3) writes into at most: the buffer of 5 less its NUL. */
const HUMANIZED_LENGTH_MAX = 4;
const SUFFIX_SHIFT: Readonly<Record<string, bigint>> = {
  "": 0n,
  b: 0n,
  k: 10n,
  m: 20n,
  g: 30n,
  t: 40n,
  p: 50n,
  e: 60n,
};

/**
 * Reads a number with an optional suffix b, k, m, g, t, p or e (either case, powers of 1024).
 *
 * As in the C original: white space and a sign may precede, `0x` means hexadecimal and a leading
 * 0 octal, a negative number is that modulo 2^64, and what follows the suffix is ignored.
 *
 * @returns 0..2^64-1, or undefined where `text` is no number or the result exceeds 64 bits.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(expandNumber("2M"), 2097152n);
 * assertEquals(expandNumber("12q"), undefined);
 * ```
 */
export function expandNumber(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*([-+]?)(0x[0-9a-f]+|[0-9]+)([^]?)/i.exec(text);
  if (match === null) return undefined;
  const [, sign = "", digits = "", suffix = ""] = match;
  if (!/^0[0-9]/.test(digits)) return scale(sign, BigInt(digits), suffix);
  const octal = /^0[0-7]*/.exec(digits)?.[0] ?? "0";
  return scale(sign, BigInt(`0o${octal}`), digits.slice(octal.length) || suffix);
}

function scale(sign: string, magnitude: bigint, suffix: string): bigint | undefined {
  const shift = SUFFIX_SHIFT[suffix.toLowerCase()];
  if (shift === undefined || magnitude > U64_MAX) return undefined;
  const number = sign === "-" ? BigInt.asUintN(64, -magnitude) : magnitude;
  const scaled = number << shift;
  return scaled > U64_MAX ? undefined : scaled;
}

/**
 * Writes a count of bytes in at most four characters: three digits, or two around a decimal
 * point where that leaves a value below 10, and a prefix of powers of 1024.
 *
 * @param bytes Taken as a signed 64-bit number, as C does with these figures.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals([humanize(2097152), humanize(268430848), humanize(512)], ["2.0MB", "256MB", "512B"]);
 * ```
 */
export function humanize(bytes: number | bigint): string {
  const signed = BigInt.asIntN(64, BigInt(bytes));
  const sign = signed < 0n ? "-" : "";
  const limit = sign === "" ? 1000n : 100n; // What fits beside the sign and the prefix.
  let quotient = signed < 0n ? -signed : signed;
  let remainder = 0n;
  let power = 0;
  // A remainder of half or more rounds the quotient up, perhaps out of the room there is.
  while (quotient + rounded(remainder) >= limit && power < PREFIXES.length - 1) {
    remainder = quotient % DIVISOR;
    quotient /= DIVISOR;
    power++;
  }
  const figure = power === 0
    ? `${quotient}`
    : withDecimal(quotient, remainder) ?? `${quotient + rounded(remainder)}`;
  return `${(sign + figure + PREFIXES[power]).slice(0, HUMANIZED_LENGTH_MAX)}B`;
}

function rounded(remainder: bigint): bigint {
  return (remainder + DIVISOR / 2n) / DIVISOR;
}

/** One decimal, where the value stays below 10 with it. */
function withDecimal(quotient: bigint, remainder: bigint): string | undefined {
  const tenths = quotient * 10n + (remainder * 10n + DIVISOR / 2n) / DIVISOR;
  return tenths < 100n ? `${tenths / 10n}.${tenths % 10n}` : undefined;
}
