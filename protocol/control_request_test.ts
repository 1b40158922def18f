import { assert, assertEquals } from "@std/assert";
import {
  CONTROL_ERROR,
  CONTROL_RESOURCES_MAX,
  type ControlRequest,
  decodeControlRequest,
  encodeControlRequest,
} from "./control_request.ts";
import { Nv } from "./nv.ts";

Deno.test("control requests round-trip", () => {
  const requests: ControlRequest[] = [
    { command: "status", extended: false, resources: "all" },
    { command: "status", extended: true, resources: "all" },
    { command: "status", extended: false, resources: ["one"] },
    { command: "role", role: "init", resources: "all" },
    { command: "role", role: "primary", resources: ["one", "two"] },
    { command: "role", role: "secondary", resources: ["two", "all"] },
    { command: "attach", resources: ["one", "two"] },
    { command: "stop" },
    { command: "reload", configPath: undefined },
    { command: "reload", configPath: "/etc/hast.conf" },
  ];
  for (const request of requests) {
    const again = decodeControlRequest(Nv.decode(encodeControlRequest(request).encode()));
    assertEquals(again, request);
  }
});

Deno.test("decodeControlRequest() stops at the first number that is missing", () => {
  const nv = new Nv().addU8("cmd", 2).addString("resource0", "a").addString("resource2", "c");
  assertEquals(decodeControlRequest(nv), { command: "status", extended: false, resources: ["a"] });
});

Deno.test("decodeControlRequest() refuses what it cannot serve", () => {
  const many = new Nv().addU8("cmd", 2);
  for (let index = 0; index <= CONTROL_RESOURCES_MAX; index++) {
    many.addString(`resource${index}`, "a");
  }
  const cases: [nv: Nv, error: number | undefined][] = [
    [new Nv(), undefined],
    [new Nv().addU8("cmd", 0).addString("resource0", "a"), undefined],
    [new Nv().addU8("cmd", 129), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 2), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 2).addU8("resource0", 1), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 1).addU8("role", 4).addString("resource0", "a"), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 4).addString("resource0", "a"), CONTROL_ERROR.unimplemented],
    [many, CONTROL_ERROR.invalid],
  ];
  for (const [nv, error] of cases) {
    const decoded = decodeControlRequest(nv);
    assert(decoded.command === "refused");
    assertEquals(decoded.error, error, decoded.message);
  }
});

Deno.test("a plain status request has not a byte more than the original's", () => {
  const names = (extended: boolean) =>
    encodeControlRequest({ command: "status", extended, resources: "all" }).entries()
      .map(({ name }) => name);
  assertEquals(names(false), ["cmd", "resource0"]);
  assertEquals(names(true), ["cmd", "extended", "resource0"]);
});

Deno.test("every request has a resource, without which the original calls it malformed", () => {
  for (const command of ["stop", "reload"] as const) {
    const nv = encodeControlRequest({ command, configPath: undefined });
    assertEquals(nv.string("resource0"), "all");
    assertEquals(decodeControlRequest(new Nv().addU8("cmd", nv.u8("cmd") ?? 0)).command, command);
  }
});
