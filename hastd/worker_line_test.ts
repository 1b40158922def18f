import { assertEquals } from "@std/assert";
import { parseWorkerLine, WORKER_LINE_LENGTH_MAX } from "./worker_line.ts";

const STATUS = {
  connected: true,
  dirtyBytes: 1,
  extentSizeBytes: 2,
  keepdirtyCount: 3,
  reads: 4,
  writes: 5,
  deletes: 6,
  flushes: 7,
  activemapUpdates: 8,
  readErrors: 9,
  writeErrors: 10,
  deleteErrors: 11,
  flushErrors: 12,
  idleQueue: 13,
  localQueue: 14,
  sendQueue: 15,
  recvQueue: 16,
  doneQueue: 17,
};

const MORE = {
  connection: { state: "refused", reason: "split-brain", message: "No.", sinceMs: 18 },
  localComponent: { inService: false, errno: 5 },
  staleBytes: 19,
  sync: {
    active: true,
    direction: "to-peer",
    totalBytes: 20,
    copiedBytes: 21,
    bytesPerSecond: 22,
    secondsLeft: 23,
  },
  resuid: "18446744073709551615",
  localcnt: "0",
  remotecnt: "1",
};

Deno.test("parseWorkerLine() takes every kind of message", () => {
  const record = { level: "error", debugLevel: 0, prefix: "[a] ", message: "b" };
  const messages = [
    { type: "ready" },
    { type: "event", event: "localfail", reason: "Input/output error" },
    { type: "refused", reason: "resuid-mismatch", message: "Another resource." },
    { type: "attached", id: 3, wasOutOfService: true, errno: 0 },
    { type: "log", record },
    { type: "status", id: 7, status: STATUS },
    { type: "status", id: 7, status: { ...STATUS, ...MORE } },
  ];
  for (const message of messages) {
    assertEquals<unknown>(parseWorkerLine(JSON.stringify(message)), message);
  }
  const event = parseWorkerLine('{"type":"event","event":"split-brain"}');
  assertEquals(event, { type: "event", event: "split-brain", reason: undefined });
});

Deno.test("parseWorkerLine() refuses what is not a message", () => {
  const wrong: unknown[] = [
    1,
    null,
    [],
    {},
    { type: "start" },
    { type: "event", event: "reboot" },
    { type: "log", record: { level: "loud", debugLevel: 0, prefix: "", message: "" } },
    { type: "log", record: { level: "info", debugLevel: -1, prefix: "", message: "" } },
    { type: "log", record: { level: "info", debugLevel: 0, prefix: "", message: 5 } },
    { type: "log" },
    { type: "event", event: "connect", reason: 1 },
    { type: "refused", reason: "dislike", message: "" },
    { type: "refused", reason: "other" },
    { type: "attached", id: 1, wasOutOfService: 1, errno: 0 },
    { type: "attached", id: 1, wasOutOfService: true, errno: -1 },
    { type: "status", id: 1.5, status: STATUS },
    { type: "status", id: 1, status: { ...STATUS, connected: 1 } },
  ];
  for (const key of Object.keys(STATUS)) {
    wrong.push({ type: "status", id: 1, status: { ...STATUS, [key]: "1" } });
    wrong.push({ type: "status", id: 1, status: { ...STATUS, [key]: undefined } });
  }
  const wrongParts = [
    { connection: { ...MORE.connection, state: "happy" } },
    { connection: { ...MORE.connection, reason: "dislike" } },
    { connection: { ...MORE.connection, message: null } },
    { connection: { ...MORE.connection, sinceMs: "now" } },
    { localComponent: { inService: 1, errno: 0 } },
    { localComponent: { inService: true } },
    { localComponent: { inService: true, errno: 2 ** 31 } },
    { staleBytes: -1 },
    { sync: { ...MORE.sync, direction: "up" } },
    { sync: { ...MORE.sync, totalBytes: 0.5 } },
    { sync: { ...MORE.sync, secondsLeft: "soon" } },
    { sync: [] },
    { resuid: "18446744073709551616" },
    { resuid: 7 },
    { localcnt: "-1" },
    { remotecnt: "" },
  ];
  for (const part of wrongParts) {
    wrong.push({ type: "status", id: 1, status: { ...STATUS, ...MORE, ...part } });
  }
  for (const value of wrong) assertEquals(parseWorkerLine(JSON.stringify(value)), undefined);
  assertEquals(parseWorkerLine(""), undefined);
  assertEquals(parseWorkerLine('{"type":"ready"'), undefined);
});

Deno.test("parseWorkerLine() refuses a line over the limit without parsing it", () => {
  const padding = " ".repeat(WORKER_LINE_LENGTH_MAX);
  assertEquals(parseWorkerLine(`{"type":"ready"}${padding}`), undefined);
});
