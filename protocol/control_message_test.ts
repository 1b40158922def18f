import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import {
  CONTROL_ERROR,
  CONTROL_REPLY_BYTES_MAX,
  CONTROL_RESOURCES_MAX,
  type ControlRequest,
  decodeControlRequest,
  decodeRoleReply,
  decodeStatusReply,
  encodeControlRequest,
  encodeRoleReply,
  encodeStatusReply,
  NO_FIGURES,
  type StatusReply,
} from "./control_message.ts";
import { Nv } from "./nv.ts";

const STATUS: StatusReply = {
  resource: "data",
  error: 0,
  provname: "data",
  localpath: "/dev/ada0",
  remoteaddr: "tcp4://10.0.0.2",
  sourceaddr: undefined,
  replication: "memsync",
  checksum: "none",
  compression: "hole",
  role: "primary",
  workerpid: 4711,
  worker: { status: "degraded", figures: { ...NO_FIGURES, dirtyBytes: 2 ** 52, reads: 7 } },
};

Deno.test("control requests round-trip", () => {
  const requests: ControlRequest[] = [
    { command: "status", resources: "all" },
    { command: "status", resources: ["one"] },
    { command: "role", role: "init", resources: "all" },
    { command: "role", role: "primary", resources: ["one", "two"] },
    { command: "role", role: "secondary", resources: ["two", "all"] },
  ];
  for (const request of requests) {
    const again = decodeControlRequest(Nv.decode(encodeControlRequest(request).encode()));
    assertEquals(again, request);
  }
});

Deno.test("decodeControlRequest() stops at the first number that is missing", () => {
  const nv = new Nv().addU8("cmd", 2).addString("resource0", "a").addString("resource2", "c");
  assertEquals(decodeControlRequest(nv), { command: "status", resources: ["a"] });
});

Deno.test("decodeControlRequest() refuses what it cannot serve", () => {
  const many = new Nv().addU8("cmd", 2);
  for (let index = 0; index <= CONTROL_RESOURCES_MAX; index++) {
    many.addString(`resource${index}`, "a");
  }
  const cases: [nv: Nv, error: number | undefined][] = [
    [new Nv(), undefined],
    [new Nv().addU8("cmd", 0).addString("resource0", "a"), undefined],
    [new Nv().addU8("cmd", 2), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 2).addU8("resource0", 1), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 1).addU8("role", 4).addString("resource0", "a"), CONTROL_ERROR.invalid],
    [new Nv().addU8("cmd", 3).addString("resource0", "a"), CONTROL_ERROR.unimplemented],
    [many, CONTROL_ERROR.invalid],
  ];
  for (const [nv, error] of cases) {
    const decoded = decodeControlRequest(nv);
    assert(decoded.command === "refused");
    assertEquals(decoded.error, error, decoded.message);
  }
});

Deno.test("status replies round-trip, with every figure in its own field", () => {
  const figures = { ...NO_FIGURES };
  for (const [index, key] of Object.keys(figures).entries()) Reflect.set(figures, key, index + 1);
  const all: StatusReply[] = [
    STATUS,
    { ...STATUS, sourceaddr: "tcp4://10.0.0.1", worker: { status: "complete", figures } },
    { ...STATUS, role: "init", workerpid: 0, worker: undefined },
  ];
  const reply = { error: 0, resources: all };
  assertEquals(decodeStatusReply(Nv.decode(encodeStatusReply(reply).encode())), reply);
});

Deno.test("role replies round-trip, with errors of single resources", () => {
  const resources = [
    { resource: "a", error: 0, previousRole: "primary" },
    { resource: "b", error: CONTROL_ERROR.noEntry, previousRole: "" },
  ];
  assertEquals(decodeRoleReply(encodeRoleReply({ error: 0, resources })), { error: 0, resources });
});

Deno.test("an error of the whole request comes without resources", () => {
  const nv = encodeStatusReply({ error: CONTROL_ERROR.noMemory, resources: [STATUS] });
  assertEquals(decodeStatusReply(nv), { error: CONTROL_ERROR.noMemory, resources: [] });
});

Deno.test("a reply about no resource still has an entry", () => {
  const nv = encodeStatusReply({ error: 0, resources: [] });
  assertEquals(nv.entries().length, 1);
  assertEquals(decodeStatusReply(nv), { error: 0, resources: [] });
});

Deno.test("decodeStatusReply() takes what an older or newer daemon sends", () => {
  const nv = new Nv()
    .addString("resource0", "data")
    .addString("role0", "primary")
    .addString("status0", "complete")
    .addU32("stat_read0", 1) // Of another type: as if absent.
    .addU64("stat_novel0", 1);
  const [status] = decodeStatusReply(nv).resources;
  assertEquals(status?.role, "primary");
  assertEquals(status?.localpath, "");
  assertEquals(status?.worker, { status: "complete", figures: NO_FIGURES });
});

Deno.test("decodeStatusReply() rejects a figure that no number holds", () => {
  const nv = new Nv()
    .addString("resource0", "data")
    .addString("status0", "complete")
    .addU64("dirty0", 2n ** 53n);
  assertThrows(() => decodeStatusReply(nv), ProtocolError, "dirty0");
});

Deno.test("the largest reply is within the limits of its reader, a larger one is an error", () => {
  const long = {
    ...STATUS,
    resource: "r".repeat(254),
    localpath: "p".repeat(1023),
    remoteaddr: "a".repeat(255),
  };
  const resources = new Array(CONTROL_RESOURCES_MAX).fill(long);
  const block = encodeStatusReply({ error: 0, resources }).encode();
  assert(block.length < CONTROL_REPLY_BYTES_MAX, `${block.length} bytes`);
  assertEquals(decodeStatusReply(Nv.decode(block)).resources.length, CONTROL_RESOURCES_MAX);
  const tooMany = encodeStatusReply({ error: 0, resources: [...resources, long] });
  assertEquals(decodeStatusReply(tooMany).error, CONTROL_ERROR.noMemory);
});
