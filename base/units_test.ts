import { assertEquals } from "@std/assert";
import { expandNumber, humanize } from "./units.ts";

Deno.test("expandNumber() takes suffixes of either case, as powers of 1024", () => {
  const cases: [string, bigint][] = [
    ["0", 0n],
    ["7", 7n],
    ["64k", 65536n],
    ["64K", 65536n],
    ["4M", 4194304n],
    ["3g", 3221225472n],
    ["1T", 1099511627776n],
    ["2p", 2251799813685248n],
    ["15e", 15n << 60n],
    ["12b", 12n],
    ["0x1000", 4096n],
    ["0X10k", 16384n],
    ["010", 8n],
    [" \t+5", 5n],
    ["-1", 18446744073709551615n],
    ["18446744073709551615", 18446744073709551615n],
    ["2m5", 2097152n],
  ];
  for (const [text, expected] of cases) assertEquals(expandNumber(text), expected, text);
});

Deno.test("expandNumber() rejects what is no number and what exceeds 64 bits", () => {
  const cases = [
    "",
    " ",
    "x",
    "abc",
    "k",
    "1z",
    "12q",
    "1 k",
    "1.5m",
    "-",
    "0xg",
    "09",
    "18446744073709551616",
    "16e",
    "99999999999999999999999",
    "-1k",
  ];
  for (const text of cases) assertEquals(expandNumber(text), undefined, text);
});

Deno.test("humanize() gives the figures of the captured listings", () => {
  const cases: [number | bigint, string][] = [
    [0, "0B"],
    [512, "512B"],
    [65536, "64KB"],
    [4096, "4.0KB"],
    [1048576, "1.0MB"],
    [2097152, "2.0MB"],
    [16772608, "16MB"],
    [104852992, "100MB"],
    [268430848, "256MB"],
    [8589929984, "8.0GB"],
    [1099511558144, "1.0TB"],
    [18446744073709547520n, "-4.0B"],
  ];
  for (const [bytes, expected] of cases) assertEquals(humanize(bytes), expected);
});

Deno.test("humanize() moves to the next prefix where rounding leaves no room", () => {
  const cases: [number | bigint, string][] = [
    [999, "999B"],
    [1000, "1.0KB"],
    [1023, "1.0KB"],
    [1536, "1.5KB"],
    [10188, "9.9KB"],
    [10189, "10KB"],
    [10240, "10KB"],
    [999 * 1024 + 511, "999KB"],
    [999 * 1024 + 512, "1.0MB"],
    [(1n << 63n) - 1n, "8.0EB"],
  ];
  for (const [bytes, expected] of cases) assertEquals(humanize(bytes), expected, `${bytes}`);
});
