/**
 * `hastctl watch` as a program: with and without a terminal, to its end by SIGINT.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { HASTCTL, inPlace, type Place, program, setRole } from "../support/daemon_place.ts";
import { withFakeDaemon } from "../support/control_fake.ts";
import { readVectors, runHastctl, withFolder } from "../support/hastctl_run.ts";
import { testWith } from "../support/needs.ts";
import { waitFor, within } from "../support/wait.ts";

const MORE = `resource rich {
	on nodea {
		local /nonexistent/rich
		remote tcp4://127.0.0.1
	}
}
`;
const RICH =
  "rich  primary   complete  synchronising to-peer 25.0% 1.0GB of 4.0GB 50MB/s 1:01 left; " +
  "local component out of service: Input/output error";

/** A program that runs, and what it has printed so far, both kinds. */
class Watcher {
  output = "";
  readonly child: Deno.ChildProcess;
  readonly #read: Promise<unknown>;

  constructor(command: Deno.Command) {
    this.child = command.spawn();
    this.#read = Promise.all([this.#collect(this.child.stdout), this.#collect(this.child.stderr)]);
  }

  /** Waits for the end; the exit code. */
  async ended(): Promise<number> {
    const { code } = await within("hastctl watch ends", this.child.status);
    await within("its output ends", this.#read);
    return code;
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) this.output += text;
  }
}

function watchArgs(place: Place, ...args: string[]): string[] {
  return ["watch", "-n", "nodea", "-c", place.configPath, ...args];
}

function startPlain(place: Place, ...args: string[]): Watcher {
  return new Watcher(program(HASTCTL, watchArgs(place, ...args), place.folder));
}

Deno.test("hastctl watch -1 prints a line for each resource and ends", () =>
  inPlace(async (place) => {
    place.configure({ more: MORE });
    await place.start();
    await setRole(place, 2, "rich");
    await waitFor("the worker answers", async () => {
      return (await place.hastctl("status", "rich")).stdout.includes("complete");
    });
    assertEquals(await place.hastctl("watch", "-1"), {
      code: 0,
      stdout: `data  init      -\n${RICH}\n`,
      stderr: "",
    });
    const one = await place.hastctl("watch", "-1", "nosuch", "data");
    assertEquals([one.code, one.stdout], [1, "nosuch  ERR1\ndata    init      -\n"]);
  }));

Deno.test("hastctl watch prints what has changed, survives the daemon, and ends on SIGINT", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    const watcher = startPlain(place);
    await waitFor("the first line", () => watcher.output === "data  init      -\n");
    await setRole(place, 3);
    const second = "data  secondary -         waiting for the primary\n";
    await waitFor("the second line", () => watcher.output.endsWith(second));
    assertEquals(watcher.output, `data  init      -\n${second}`);
    assertEquals(await daemon.stop(), 0);
    await waitFor("the daemon is missed", () => /Unable to connect/.test(watcher.output));
    await place.start();
    await waitFor("the daemon is back", () => watcher.output.endsWith("data  init      -\n"));
    watcher.child.kill("SIGINT");
    assertEquals(await watcher.ended(), 0);
  }));

Deno.test("hastctl watch without a daemon fails at once", () =>
  inPlace(async (place) => {
    const { code, stdout, stderr } = await place.hastctl("watch");
    assertEquals([code, stdout], [71, ""]);
    assertMatch(stderr, /Unable to connect to hastd/);
  }));

Deno.test("hastctl watch ends when nobody reads any more", () =>
  inPlace(async (place) => {
    const daemon = await place.start();
    const child = program(HASTCTL, watchArgs(place), place.folder).spawn();
    const reader = child.stdout.getReader();
    await within("the first line", reader.read());
    await reader.cancel();
    await child.stderr.cancel();
    await setRole(place, 3); // Something to print.
    assertEquals((await within("hastctl watch ends", child.status)).code, 0);
    assertEquals(await daemon.stop(), 0);
  }));

/** hastctl with a terminal of its own; what is written to its input is typed there. */
function startOnTerminal(place: Place): Watcher & { type(text: string): Promise<void> } {
  const command = [Deno.execPath(), "run", "--quiet", "--allow-all", "--no-check", "--cached-only"];
  const line = [...command, HASTCTL, ...watchArgs(place)].join(" ");
  const watcher = new Watcher(
    new Deno.Command("script", {
      args: ["-q", "-e", "-c", `stty rows 10 cols 72; exec ${line}`, "/dev/null"],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }),
  );
  const writer = watcher.child.stdin.getWriter();
  return Object.assign(watcher, {
    async type(text: string) {
      await writer.write(new TextEncoder().encode(text));
      await writer.close();
    },
  });
}

testWith(
  ["linux", "program script"],
  "on a terminal hastctl watch redraws bars in place",
  () =>
    inPlace(async (place) => {
      place.configure({ more: MORE });
      await place.start();
      await setRole(place, 2, "rich");
      const watcher = startOnTerminal(place);
      await waitFor("it has been drawn twice", () => watcher.output.includes("\x1b[2A"));
      const [first = "", second = ""] = watcher.output.split("\x1b[2A");
      assert(first.startsWith("\rdata  init      -\x1b[K\r\n"), JSON.stringify(first));
      assertMatch(first, /\r\nrich {2}primary {3}complete {2}\[#+-+\] {2}25\.0% 50MB\/s 1:01 left/);
      for (const line of first.split("\r\n")) {
        // deno-lint-ignore no-control-regex -- What a terminal does not show.
        assert(line.replaceAll(/\x1b\[[0-9]*[KJA]|\r/g, "").length <= 72, JSON.stringify(line));
      }
      assert(second.startsWith("\rdata"), JSON.stringify(second));
      await watcher.type("\x03");
      assertEquals(await watcher.ended(), 0);
    }),
);

Deno.test("--json and watch make do with a daemon that tells only what the original does", async () => {
  const { hastctl } = readVectors<{ hastctl: { what: string; reply_hex: string }[] }>(
    "control.json",
  );
  const vector = hastctl.find(({ what }) => what === "list, primary and complete");
  assert(vector !== undefined);
  await withFolder(async (folder) => {
    const config = `${folder}/hast.conf`;
    Deno.writeTextFileSync(config, `control ${folder}/ctl\n`);
    const run = async (...args: string[]) => {
      const answer = { replyHex: vector.reply_hex };
      const { result } = await withFakeDaemon(`${folder}/ctl`, answer, () => runHastctl(...args));
      return result;
    };
    const { code, stdout } = await run("list", "--json", "-c", config);
    assertEquals(code, 0);
    const { version, daemon, resources: [data] } = JSON.parse(stdout);
    assertEquals([version, daemon, data.name, data.status], [1, null, "data", "complete"]);
    assertEquals([data.connection, data.sync, data.resuid], [null, null, null]);
    assertEquals([data.workerPid, data.queues.idle], [9070, 255]);
    const watched = await run("watch", "-1", "-c", config);
    assertEquals(watched.stdout.split("\n")[0], "data   primary   complete  0B dirty");
    const reload = await run("reload", "-n", "-c", config);
    assertEquals(reload.code, 69);
    assertMatch(reload.stderr, /cannot tell its configuration/);
  });
});
