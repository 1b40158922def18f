/** The daemon as a process: background mode, a second one, failures at start, SIGHUP. */
import { assertEquals, assertMatch } from "@std/assert";
import { type Node, withCluster } from "../support/cluster.ts";
import { isAlive } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";

function pidOf(node: Node): number {
  return Number(Deno.readTextFileSync(node.pidfilePath).trim());
}

Deno.test("in background mode hastd returns once it listens, and SIGTERM ends it", () =>
  withCluster({}, async ({ a }) => {
    const started = await a.hastd();
    assertEquals([started.code, started.stderr], [0, ""]);
    const pid = pidOf(a);
    try {
      await a.hastctlOk("status"); // At once: it listens already.
    } finally {
      Deno.kill(pid, "SIGTERM");
    }
    await waitFor("hastd ends", async () => !(await isAlive(pid)));
    assertEquals((await a.hastctl("status")).code, 71);
  }));

Deno.test("a second hastd with the same pidfile ends with 75 and names the first", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    for (const args of [[], ["-F"]]) {
      const second = await a.hastd(...args);
      assertEquals(second.code, 75);
      assertMatch(
        second.stderr,
        new RegExp(`Another hastd is already running, pidfile: ${a.pidfilePath}, pid: ${a.pid}\\.`),
      );
    }
    await a.hastctlOk("status");
  }));

Deno.test("an address that is taken fails the start, in the background, too", () =>
  withCluster({}, async ({ a }) => {
    using _taken = Deno.listen({ hostname: a.address, port: a.port });
    for (const args of [[], ["-F"]]) {
      const result = await a.hastd(...args);
      assertEquals(result.code, 71);
      assertMatch(result.stderr, /Unable to listen on address .*127\.0\.0\.1/);
    }
  }));

Deno.test("a configuration with an error fails the start and is named with its line", () =>
  withCluster({}, async ({ a }) => {
    await Deno.writeTextFile(a.configPath, "control /tmp/x\nreplication often\n");
    for (const args of [[], ["-F"]]) {
      const result = await a.hastd(...args);
      assertEquals(result.code, 78);
      assertMatch(result.stderr, /line 2/);
    }
  }));

Deno.test("SIGHUP takes a new resource in and keeps all when the file has an error", () =>
  withCluster({}, async ({ a }) => {
    await a.start();
    const text = await Deno.readTextFile(a.configPath);
    const more = text.slice(text.indexOf("resource ")).replace("resource disk0", "resource disk1");
    await Deno.writeTextFile(a.configPath, text + more);
    Deno.kill(a.pid, "SIGHUP");
    await waitFor("disk1 is there", async () => {
      return (await a.hastctl("status", "disk1")).stdout.includes("disk1\t-        init");
    });
    await Deno.writeTextFile(a.configPath, "resource {");
    const logged = a.log().length;
    Deno.kill(a.pid, "SIGHUP");
    await waitFor("the error is logged", () => a.log().slice(logged).includes("[ERROR]"));
    await Deno.writeTextFile(a.configPath, text + more);
    assertEquals((await a.list("disk1")).get("role"), "init");
  }));
