import { assertEquals } from "@std/assert";
import { parseArgs } from "@std/cli";
import { TextLineStream } from "@std/streams";
import { parse, stringify } from "@std/toml";

Deno.test("the @std names of the import map resolve to working code with types", async () => {
  assertEquals(parseArgs(["-n", "a", "x"], { string: ["n"] }).n, "a");
  assertEquals(parse(stringify({ a: { b: 1 } })), { a: { b: 1 } });
  const lines = await Array.fromAsync(
    ReadableStream.from(["a\nb", "c\n"]).pipeThrough(new TextLineStream()),
  );
  assertEquals(lines, ["a", "bc"]);
});
