import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import {
  CONTROL_REPLY_BYTES_MAX,
  decodeAttachReply,
  decodePlainReply,
  decodeReloadReply,
  decodeRoleReply,
  decodeStatusReply,
  encodeAttachReply,
  encodeReloadReply,
  encodeRoleReply,
  encodeStatusReply,
  encodeStopReply,
  NO_FIGURES,
  type StatusReply,
} from "./control_reply.ts";
import { CONTROL_ERROR, CONTROL_RESOURCES_MAX } from "./control_request.ts";
import type { StatusExtension } from "./control_extension.ts";
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

const EXTENSION: StatusExtension = {
  timeoutSeconds: 20,
  execPath: "/hook",
  metaflush: true,
  providerNbd: "127.0.0.1:10809",
  syncRateBytesPerSecond: 2 ** 40,
  secretPaths: ["/etc/new.secret", "/etc/old.secret"],
  connection: { state: "refused", reason: "split-brain", message: "No.", sinceMs: 1.7e12 },
  localComponent: { inService: false, errno: 5 },
  staleBytes: 2 ** 41,
  sync: {
    active: true,
    direction: "to-peer",
    totalBytes: 2 ** 42,
    copiedBytes: 1,
    bytesPerSecond: 2,
    secondsLeft: 3,
  },
  resuid: 2n ** 64n - 1n,
  localcnt: 4n,
  remotecnt: 5n,
};

/** Nothing known but what a configuration always has. */
const UNKNOWN: StatusExtension = {
  timeoutSeconds: 1,
  execPath: undefined,
  metaflush: false,
  providerNbd: undefined,
  syncRateBytesPerSecond: 0,
  secretPaths: [],
  connection: { state: "none", reason: undefined, message: undefined, sinceMs: undefined },
  localComponent: undefined,
  staleBytes: undefined,
  sync: undefined,
  resuid: undefined,
  localcnt: undefined,
  remotecnt: undefined,
};

Deno.test("status replies round-trip, with every figure in its own field", () => {
  const figures = { ...NO_FIGURES };
  for (const [index, key] of Object.keys(figures).entries()) Reflect.set(figures, key, index + 1);
  const all: StatusReply[] = [
    STATUS,
    { ...STATUS, sourceaddr: "tcp4://10.0.0.1", worker: { status: "complete", figures } },
    { ...STATUS, role: "init", workerpid: 0, worker: undefined },
    { ...STATUS, extension: EXTENSION },
    { ...STATUS, worker: undefined, extension: UNKNOWN },
  ];
  const daemon = {
    pid: 7,
    configPath: "/etc/hast.conf",
    nodeName: "nodea",
    controlAddress: "/ctl",
    pidfilePath: "/pid",
    listenAddresses: ["10.0.0.1", "/sock"],
  };
  const reply = { error: 0, resources: all, daemon };
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
  const path = "/".repeat(1023);
  const connection = { ...EXTENSION.connection, message: "m".repeat(1024) };
  const extension = { ...EXTENSION, connection, execPath: path };
  const resources = new Array(CONTROL_RESOURCES_MAX).fill({ ...long, extension });
  const block = encodeStatusReply({ error: 0, resources }).encode();
  assert(block.length < CONTROL_REPLY_BYTES_MAX, `${block.length} bytes`);
  assertEquals(decodeStatusReply(Nv.decode(block)).resources.length, CONTROL_RESOURCES_MAX);
  const tooMany = encodeStatusReply({ error: 0, resources: [...resources, long] });
  assertEquals(decodeStatusReply(tooMany).error, CONTROL_ERROR.noMemory);
});

Deno.test("words of the other node reach nobody's terminal as they are", () => {
  const connection = {
    state: "refused" as const,
    message: `a\0b\x1b[2Jc\nd\u00fc${"x".repeat(2000)}`,
  };
  const extension = { ...UNKNOWN, connection };
  const nv = encodeStatusReply({ error: 0, resources: [{ ...STATUS, extension }] });
  const [status] = decodeStatusReply(nv).resources;
  assertEquals(status?.extension?.connection.message, `a?b?[2Jc?d\u00fc${"x".repeat(1013)}`);
});

Deno.test("replies to attach, reload and stop round-trip", () => {
  const attached = {
    error: 0,
    resources: [
      { resource: "a", error: 0, wasOutOfService: true, errno: 0 },
      { resource: "b", error: 0, wasOutOfService: false, errno: 0 },
      { resource: "c", error: CONTROL_ERROR.ioError, wasOutOfService: false, errno: 5 },
      { resource: "d", error: CONTROL_ERROR.unavailable, wasOutOfService: false, errno: 0 },
    ],
  };
  assertEquals(decodeAttachReply(encodeAttachReply(attached)), attached);
  const reloaded = { error: 0, resources: [{ resource: "a", error: 0, action: "restart" }] };
  assertEquals(decodeReloadReply(encodeReloadReply(reloaded)), reloaded);
  const failed = { error: 71, message: "Unable to listen.", resources: [] };
  assertEquals(decodeReloadReply(encodeReloadReply(failed)), failed);
  assertEquals(decodePlainReply(encodeStopReply(7)).daemon?.pid, 7);
});
