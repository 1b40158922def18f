import { assertEquals } from "@std/assert";
import { getopt } from "./getopt.ts";

function shown(args: string[], letters = "c:dh", longNames: string[] = []): string {
  const { options, operands, complaint } = getopt(args, letters, longNames);
  const taken = options.map(({ name, value }) => value === "" ? name : `${name}=${value}`);
  return `${taken.join(",")}|${operands.join(",")}|${complaint ?? ""}`;
}

Deno.test("getopt() takes clusters and arguments, attached or apart", () => {
  assertEquals(shown(["-d", "-d", "-c", "f", "x"]), "d,d,c=f|x|");
  assertEquals(shown(["-ddcf", "x"]), "d,d,c=f|x|");
  assertEquals(shown(["-dc", "f"]), "d,c=f||");
  assertEquals(shown(["-c", "-d"]), "c=-d||");
  assertEquals(shown(["-c", "", "x"]), "c|x|");
});

Deno.test("getopt() ends at the first operand, at a dash and behind two dashes", () => {
  assertEquals(shown(["x", "-d"]), "|x,-d|");
  assertEquals(shown(["-d", "-", "-d"]), "d|-,-d|");
  assertEquals(shown(["-d", "--", "-d"]), "d|-d|");
  assertEquals(shown([]), "||");
});

Deno.test("getopt() complains and keeps what came before", () => {
  assertEquals(shown(["-dxd"]), "d||illegal option -- x");
  assertEquals(shown(["-d", "-c"]), "d||option requires an argument -- c");
  assertEquals(shown(["-:"]), "||illegal option -- :");
  assertEquals(shown(["--toml"]), "||illegal option -- -");
});

Deno.test("getopt() takes the long options it is given, whole names only", () => {
  assertEquals(shown(["--toml", "-d"], "d", ["toml"]), "toml,d||");
  assertEquals(shown(["--tom"], "d", ["toml"]), "||illegal option -- -");
});
