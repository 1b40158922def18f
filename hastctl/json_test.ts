import { assert, assertEquals } from "@std/assert";
import { NO_FIGURES, type StatusReply } from "../protocol/control_reply.ts";
import { statusDocument } from "./json.ts";

const PAGE = Deno.readTextFileSync(new URL("../docs/hastctl.8", import.meta.url));

const REPLY: StatusReply = {
  resource: "data",
  error: 0,
  provname: "data",
  localpath: "/dev/da0",
  remoteaddr: "none",
  sourceaddr: undefined,
  replication: "memsync",
  checksum: "none",
  compression: "hole",
  role: "primary",
  workerpid: 7,
  worker: { status: "degraded", figures: NO_FIGURES },
  extension: {
    timeoutSeconds: 20,
    execPath: undefined,
    metaflush: true,
    providerNbd: undefined,
    syncRateBytesPerSecond: 0,
    secretPaths: [],
    connection: { state: "connecting", sinceMs: Number.MAX_SAFE_INTEGER },
    localComponent: { inService: true, errno: 0 },
    staleBytes: 0,
    sync: {
      active: false,
      direction: "to-peer",
      totalBytes: 0,
      copiedBytes: 0,
      bytesPerSecond: 0,
    },
    resuid: 1n,
    localcnt: 2n,
    remotecnt: 3n,
  },
};

const DAEMON = {
  pid: 1,
  configPath: "/etc/hast.conf",
  nodeName: undefined,
  controlAddress: "/ctl",
  pidfilePath: "/pid",
  listenAddresses: [],
};

function keysIn(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, below]) => {
    return Array.isArray(value) ? keysIn(below) : [key, ...keysIn(below)];
  });
}

Deno.test("hastctl(8) names every field of the JSON document", () => {
  const section = PAGE.split(/^\.Sh /m).find((text) => text.startsWith("JSON")) ?? "";
  const words = new Set(section.split(/[^A-Za-z]+/));
  const keys = keysIn(statusDocument({ error: 0, daemon: DAEMON, resources: [REPLY] }));
  assert(keys.length > 50);
  assertEquals(keys.filter((key) => !words.has(key)), []);
});

Deno.test("the document has nothing that JSON cannot hold, and null for what is not known", () => {
  const document = statusDocument({ error: 0, daemon: DAEMON, resources: [REPLY] });
  const [data] = JSON.parse(JSON.stringify(document)).resources;
  assertEquals(data.connection.since, null); // A time beyond every calendar.
  assertEquals(data.sync.secondsLeft, null);
  assertEquals(data.localComponent, { state: "in-service", errno: null, message: null });
  assertEquals(data.resuid, "1");
});
