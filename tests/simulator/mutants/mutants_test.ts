import { assertEquals } from "@std/assert";
import { MUTANTS } from "./mutants.ts";

const ROOT = new URL("../../../", import.meta.url);

Deno.test("every planted bug still has its place in the sources", () => {
  const lost = MUTANTS.filter(({ file, from }) => {
    const source = Deno.readTextFileSync(new URL(file, ROOT));
    return source.split(from).length !== 2;
  });
  assertEquals(lost.map(({ name }) => name), []);
});
