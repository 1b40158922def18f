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

Deno.test("parseWorkerLine() takes every kind of message", () => {
  const record = { level: "error", debugLevel: 0, prefix: "[a] ", message: "b" };
  const messages = [
    { type: "ready" },
    { type: "event", event: "split-brain" },
    { type: "log", record },
    { type: "status", id: 7, status: STATUS },
  ];
  for (const message of messages) {
    assertEquals<unknown>(parseWorkerLine(JSON.stringify(message)), message);
  }
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
    { type: "status", id: 1.5, status: STATUS },
    { type: "status", id: 1, status: { ...STATUS, connected: 1 } },
  ];
  for (const key of Object.keys(STATUS)) {
    wrong.push({ type: "status", id: 1, status: { ...STATUS, [key]: "1" } });
    wrong.push({ type: "status", id: 1, status: { ...STATUS, [key]: undefined } });
  }
  for (const value of wrong) assertEquals(parseWorkerLine(JSON.stringify(value)), undefined);
  assertEquals(parseWorkerLine(""), undefined);
  assertEquals(parseWorkerLine('{"type":"ready"'), undefined);
});

Deno.test("parseWorkerLine() refuses a line over the limit without parsing it", () => {
  const padding = " ".repeat(WORKER_LINE_LENGTH_MAX);
  assertEquals(parseWorkerLine(`{"type":"ready"}${padding}`), undefined);
});
