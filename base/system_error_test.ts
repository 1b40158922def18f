import { assertEquals } from "@std/assert";
import { systemErrorName, systemErrorText } from "./system_error.ts";

function failureOf(call: () => unknown): unknown {
  try {
    call();
  } catch (thrown) {
    return thrown;
  }
  throw new Error("The call succeeded");
}

Deno.test("systemErrorText() has FreeBSD's words for what Deno throws", () => {
  const missing = failureOf(() => Deno.readTextFileSync("/nonexistent/x"));
  assertEquals(systemErrorName(missing), "ENOENT");
  assertEquals(systemErrorText(missing), "No such file or directory");
  const folder = failureOf(() => Deno.readTextFileSync("/"));
  assertEquals(systemErrorText(folder), "Is a directory");
  const long = failureOf(() => Deno.readTextFileSync(`/${"x".repeat(5000)}`));
  assertEquals(systemErrorText(long), "File name too long");
});

Deno.test("systemErrorText() knows the classes of Deno without a code", () => {
  assertEquals(systemErrorText(new Deno.errors.AddrInUse("x")), "Address already in use");
  assertEquals(systemErrorText(new Deno.errors.BrokenPipe("x")), "Broken pipe");
});

Deno.test("systemErrorText() passes on what is no system error, without its period", () => {
  assertEquals(systemErrorName(new Error("Something else.")), undefined);
  assertEquals(systemErrorText(new Error("Something else.")), "Something else");
  assertEquals(systemErrorText("text"), "text");
});
