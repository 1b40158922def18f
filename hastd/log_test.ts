import { assertEquals } from "@std/assert";
import { foregroundLine, LOG_LINE_CHARS_MAX, plainText } from "./log.ts";

const LOG_MODULE = JSON.stringify(import.meta.resolve("./log.ts"));

/** Runs `source` after the import of createLog in a process of its own. */
async function run(source: string): Promise<{ stdout: string; stderr: string; pid: number }> {
  const text = `import { createLog } from ${LOG_MODULE};\n${source}`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", text],
    cwd: new URL("..", import.meta.url),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = await child.output();
  const decoder = new TextDecoder();
  return {
    stdout: decoder.decode(output.stdout),
    stderr: decoder.decode(output.stderr),
    pid: child.pid,
  };
}

Deno.test("createLog() in the foreground writes hastd's lines to stdout and stderr", async () => {
  const { stdout, stderr } = await run(`
    const { log, write } = createLog({ mode: "foreground", debugLevel: 2 });
    log.info("Listening on address tcp4://0.0.0.0:8457.");
    log.debug(1, "One {brace} {} {{.");
    log.debug(2, "Two.");
    log.debug(3, "Three.");
    log.error("Unable to open /x: No such file or directory.");
    log.warning("Configuration not reloaded.");
    write({ level: "error", debugLevel: 0, prefix: "[data] (primary) ", message: "Bad." });
    write({ level: "debug", debugLevel: 2, prefix: "[data] (primary) ", message: "Good." });`);
  assertEquals(
    stdout,
    "[INFO] Listening on address tcp4://0.0.0.0:8457.\n[DEBUG][1] One {brace} {} {{.\n" +
      "[DEBUG][2] Two.\n[DEBUG][2] [data] (primary) Good.\n",
  );
  assertEquals(
    stderr,
    "[ERROR] Unable to open /x: No such file or directory.\n" +
      "[WARNING] Configuration not reloaded.\n[ERROR] [data] (primary) Bad.\n",
  );
});

Deno.test("createLog() again changes where the first log writes and how much", async () => {
  const { stdout, stderr } = await run(`
    const first = createLog({ mode: "foreground", debugLevel: 0 }).log;
    first.debug(1, "hidden");
    createLog({ mode: "foreground", debugLevel: 1 });
    first.debug(1, "shown");
    createLog({ mode: "background", debugLevel: 1 });
    first.error("syslog only");`);
  assertEquals([stdout, stderr], ["[DEBUG][1] shown\n", ""]);
});

Deno.test("a log whose reader has gone does not throw", async () => {
  const text = `import { createLog } from ${LOG_MODULE};
    const { log } = createLog({ mode: "foreground", debugLevel: 0 });
    await Deno.stdin.read(new Uint8Array(1));
    for (let count = 0; count < 10; count++) log.info("Nobody hears this.");
    log.error("All lines written.");`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", text],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await child.stdout.cancel();
  await child.stdin.close();
  const stderr = await new Response(child.stderr).text();
  assertEquals([(await child.status).code, stderr], [0, "[ERROR] All lines written.\n"]);
});

Deno.test("a message stays one line of limited length", () => {
  const record = { level: "info", debugLevel: 0, prefix: "[a] (init) " } as const;
  const message = "x\n[ERROR] forged\x1b[2J\ttab\u0085é";
  assertEquals(
    foregroundLine({ ...record, message }),
    "[INFO] [a] (init) x\\x0a[ERROR] forged\\x1b[2J\ttab\\x85é",
  );
  assertEquals(plainText({ ...record, message: "y".repeat(9999) }).length, LOG_LINE_CHARS_MAX);
});

Deno.test("createLog() in the background does not write to standard output", async () => {
  const { stdout, stderr } = await run(`
    createLog({ mode: "background", debugLevel: 0 }).log.error("nothing here");`);
  assertEquals([stdout, stderr], ["", ""]);
});

const DEVICE = "/dev/log";

/** Why syslog cannot be watched here, or an empty text. */
function syslogObstacle(): string {
  if (Deno.build.os !== "linux") return "only glibc's way is known here";
  if (Deno.uid() !== 0) return `only root may make ${DEVICE}`;
  try {
    Deno.lstatSync(DEVICE);
    return `${DEVICE} belongs to someone`;
  } catch {
    return "";
  }
}

const obstacle = syslogObstacle();

Deno.test({
  name: `createLog() in the background writes to syslog${obstacle && ` (skipped: ${obstacle})`}`,
  ignore: obstacle !== "",
  async fn() {
    // A process of its own, for the datagram socket's flag.
    const receiver = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--unstable-net", "--ext=ts", RECEIVER, DEVICE],
      stdout: "piped",
    }).spawn();
    const lines = receiver.stdout.pipeThrough(new TextDecoderStream()).getReader();
    try {
      assertEquals((await lines.read()).value, "ready\n");
      const { pid } = await run(`
        const { log, write } = createLog({ mode: "background", debugLevel: 1 });
        log.info("100 %s %n sure.");
        log.debug(1, "Detail.");
        write({ level: "error", debugLevel: 0, prefix: "[data] (primary) ", message: "Bad." });
        log.warning("end of test");`);
      let received = "";
      while (!received.includes("end of test")) {
        received += (await lines.read()).value ?? "\0end of test";
      }
      const found = [
        ...received.matchAll(/<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d (hastd\[\d+\]: .*)/g),
      ]
        .map(([, priority, text]) => `${priority} ${text}`);
      assertEquals(found, [
        `30 hastd[${pid}]: 100 %s %n sure.`,
        `31 hastd[${pid}]: Detail.`,
        `27 hastd[${pid}]: [data] (primary) Bad.`,
        `28 hastd[${pid}]: end of test`,
      ]);
    } finally {
      receiver.kill("SIGKILL");
      await receiver.status;
      await lines.cancel();
      Deno.removeSync(DEVICE);
    }
  },
});

const RECEIVER = `
  const socket = Deno.listenDatagram({ transport: "unixpacket", path: Deno.args[0] });
  Deno.stdout.writeSync(new TextEncoder().encode("ready\\n"));
  for await (const [bytes] of socket) {
    Deno.stdout.writeSync(new TextEncoder().encode(new TextDecoder().decode(bytes) + "\\n"));
  }`;
