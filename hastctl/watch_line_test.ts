import { assert, assertEquals } from "@std/assert";
import type { StatusExtension, SyncReply } from "../protocol/control_extension.ts";
import { NO_FIGURES, type StatusReply } from "../protocol/control_reply.ts";
import { nameWidth, watchLine } from "./watch_line.ts";

const EXTENSION: StatusExtension = {
  timeoutSeconds: 20,
  execPath: undefined,
  metaflush: true,
  providerNbd: undefined,
  syncRateBytesPerSecond: 0,
  secretPaths: [],
  connection: { state: "connected" },
  localComponent: { inService: true, errno: 0 },
  staleBytes: 0,
  sync: undefined,
  resuid: 1n,
  localcnt: 1n,
  remotecnt: 0n,
};

const SYNC: SyncReply = {
  active: true,
  direction: "to-peer",
  totalBytes: 4 * 2 ** 30,
  copiedBytes: 2 ** 30,
  bytesPerSecond: 50 * 2 ** 20,
  secondsLeft: 61,
};

function reply(extension: Partial<StatusExtension>, changes: Partial<StatusReply> = {}) {
  const status: StatusReply = {
    resource: "data",
    error: 0,
    provname: "data",
    localpath: "/dev/da0",
    remoteaddr: "10.0.0.2",
    sourceaddr: undefined,
    replication: "memsync",
    checksum: "none",
    compression: "hole",
    role: "primary",
    workerpid: 1,
    worker: { status: "degraded", figures: { ...NO_FIGURES, dirtyBytes: 2 ** 21 } },
    extension: { ...EXTENSION, ...extension },
    ...changes,
  };
  return status;
}

function line(extension: Partial<StatusExtension>, changes: Partial<StatusReply> = {}): string {
  return watchLine(reply(extension, changes), 4, undefined);
}

Deno.test("watchLine() says how a resource stands", () => {
  const begin = "data  primary   degraded  ";
  assertEquals(line({}), `${begin}connected`);
  assertEquals(line({ staleBytes: 2 ** 20 }), `${begin}connected, 1.0MB to copy`);
  assertEquals(line({ connection: { state: "connecting" } }), `${begin}connecting`);
  assertEquals(
    line({ connection: { state: "connecting", message: "Timed out" }, staleBytes: 2 ** 21 }),
    `${begin}connecting, 2.0MB to copy: Timed out`,
  );
  assertEquals(
    line({ connection: { state: "refused", reason: "split-brain", message: "No." } }),
    `${begin}refused: split-brain: No.`,
  );
  assertEquals(
    line({ localComponent: { inService: false, errno: 5 } }),
    `${begin}local component out of service: Input/output error; connected`,
  );
  const idle = { role: "init", worker: undefined, workerpid: 0 };
  assertEquals(line({ connection: { state: "none" } }, idle), "data  init      -");
  const waiting = { ...idle, role: "secondary" };
  assertEquals(
    line({ connection: { state: "waiting" } }, waiting),
    "data  secondary -         waiting for the primary",
  );
  assertEquals(line({}, { error: 1 }), "data  ERR1");
});

Deno.test("watchLine() makes do with what the original tells", () => {
  assertEquals(line({}, { extension: undefined }), "data  primary   degraded  2.0MB dirty");
});

Deno.test("watchLine() shows a synchronisation, without a bar where there is no terminal", () => {
  const begin = "data  primary   degraded  synchronising";
  assertEquals(
    line({ sync: SYNC }),
    `${begin} to-peer 25.0% 1.0GB of 4.0GB 50MB/s 1:01 left`,
  );
  assertEquals(
    line({ sync: { ...SYNC, direction: "from-peer", secondsLeft: undefined, bytesPerSecond: 0 } }),
    `${begin} from-peer 25.0% 1.0GB of 4.0GB 0B/s`,
  );
  assertEquals(
    line({ sync: { ...SYNC, secondsLeft: 36005, copiedBytes: 4 * 2 ** 30 - 1 } }),
    `${begin} to-peer 99.9% 4.0GB of 4.0GB 50MB/s 10:00:05 left`,
  );
  assertEquals(line({ sync: { ...SYNC, active: false } }), "data  primary   degraded  connected");
});

Deno.test("watchLine() draws a bar that grows, within the width of the terminal", () => {
  const drawn = (copiedBytes: number, columns: number) =>
    watchLine(reply({ sync: { ...SYNC, copiedBytes } }), 4, columns);
  assertEquals(
    drawn(2 ** 30, 80),
    "data  primary   degraded  [#####---------------]  25.0% 50MB/s 1:01 left",
  );
  let before = -1;
  for (let quarter = 0; quarter <= 4; quarter++) {
    const filled = drawn(quarter * 2 ** 30, 120).replaceAll(/[^#]/g, "").length;
    assert(filled > before);
    before = filled;
  }
  assertEquals(drawn(0, 120).includes("#"), false);
  assertEquals(/-+\]/.test(drawn(4 * 2 ** 30, 120)), false);
  // More than there was to copy at the start is no more than all.
  assertEquals(drawn(5 * 2 ** 30, 120), drawn(4 * 2 ** 30, 120));
  for (let columns = 1; columns < 200; columns++) assert(drawn(1, columns).length <= columns);
});

Deno.test("nameWidth() makes room for the longest name", () => {
  assertEquals(nameWidth([]), 4);
  assertEquals(nameWidth([reply({}), reply({}, { resource: "longer" })]), 6);
});
