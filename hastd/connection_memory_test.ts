import { assertEquals } from "@std/assert";
import { NO_FIGURES } from "../protocol/control_reply.ts";
import { ConnectionMemory } from "./connection_memory.ts";
import type { ConnectionStatus, WorkerStatus } from "./worker_channel.ts";

function worker(connection?: ConnectionStatus, connected = false): WorkerStatus {
  return { ...NO_FIGURES, connected, ...(connection === undefined ? {} : { connection }) };
}

const CONNECTING: ConnectionStatus = { state: "connecting", message: "Timed out", sinceMs: 5 };

Deno.test("view() without anything to remember is what the worker says, or the role", () => {
  const memory = new ConnectionMemory();
  assertEquals(memory.view("init", undefined), { state: "none" });
  assertEquals(memory.view("secondary", undefined), { state: "waiting" });
  assertEquals(memory.view("primary", undefined), { state: "connecting" });
  assertEquals(memory.view("primary", worker()), { state: "connecting" });
  assertEquals(memory.view("primary", worker(CONNECTING)), CONNECTING);
  assertEquals(memory.view("primary", worker(undefined, true)), {
    state: "connected",
    sinceMs: undefined,
  });
});

Deno.test("a refusal is shown in every role until the nodes are connected", () => {
  const memory = new ConnectionMemory();
  memory.refused("split-brain", "Split-brain condition!", 100);
  memory.refused("split-brain", undefined, 200); // Ten seconds later, again.
  memory.refused("other", "Remote node acts as init.", 250);
  memory.roleChanged();
  const refusal = {
    state: "refused",
    reason: "split-brain",
    message: "Split-brain condition!",
    sinceMs: 100,
  } as const;
  assertEquals(memory.view("secondary", undefined), refusal);
  assertEquals(memory.view("init", undefined), refusal);
  assertEquals(memory.view("primary", worker(CONNECTING)), refusal);
  const connected: ConnectionStatus = { state: "connected", sinceMs: 300 };
  assertEquals(memory.view("primary", worker(connected, true)), connected);
  memory.connected();
  assertEquals(memory.view("secondary", undefined), { state: "waiting" });
});

Deno.test("a grave refusal takes the place of another one", () => {
  const memory = new ConnectionMemory();
  memory.refused("other", "Remote node acts as init.", 50);
  memory.refused("split-brain", "Split-brain condition!", 100);
  memory.refused("resuid-mismatch", "Another resource.", 200);
  const { reason, sinceMs } = memory.view("secondary", undefined);
  assertEquals([reason, sinceMs], ["resuid-mismatch", 200]);
});

Deno.test("any other refusal is shown until the worker knows better or the role changes", () => {
  const memory = new ConnectionMemory();
  memory.refused("other", "Remote node acts as init.", 100);
  const refusal = {
    state: "refused",
    reason: "other",
    message: "Remote node acts as init.",
    sinceMs: 100,
  } as const;
  assertEquals(memory.view("secondary", undefined), refusal);
  assertEquals(memory.view("primary", worker()), refusal);
  assertEquals(memory.view("primary", worker(CONNECTING)), CONNECTING);
  const newer: ConnectionStatus = { state: "refused", reason: "other", message: "No.", sinceMs: 9 };
  assertEquals(memory.view("primary", worker(newer)), newer);
  memory.roleChanged();
  assertEquals(memory.view("secondary", undefined), { state: "waiting" });
});
