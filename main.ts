/**
 * One program, three faces: `hastd`, `hastctl` and the worker process that hastd starts.
 *
 * Run from source, the first argument says which. Compiled, the program's own name does, and
 * `worker` as first argument of either.
 * @module
 */
import { EX, HastError } from "./base/errors.ts";

type Face = "hastd" | "hastctl" | "worker";

const FACES: readonly Face[] = ["hastd", "hastctl", "worker"];

/** Which face is asked for, and its arguments; undefined where nobody can tell. */
function chooseFace(): { face: Face; args: string[] } | undefined {
  const [first, ...rest] = Deno.args;
  const ownName = Deno.build.standalone ? Deno.execPath().split("/").at(-1) : undefined;
  const named = FACES.find((face) => face === ownName);
  if (named !== undefined && first !== "worker") return { face: named, args: Deno.args };
  const asked = FACES.find((face) => face === first);
  return asked === undefined ? undefined : { face: asked, args: rest };
}

/** Only the face that is needed is loaded. */
async function run(face: Face, args: string[]): Promise<number> {
  switch (face) {
    case "hastd":
      return await (await import("./hastd/daemon.ts")).hastdMain(args);
    case "hastctl": {
      const { nodeIdentity } = await import("./hastd/node_identity.ts");
      return await (await import("./hastctl/cli.ts")).hastctlMain(args, nodeIdentity);
    }
    case "worker":
      return await (await import("./hastd/worker.ts")).workerMain();
  }
}

/** The last words of a program that has met its own bug or an error nobody else handled. */
function fail(face: Face | undefined, error: unknown): number {
  const text = error instanceof HastError
    ? error.message
    : error instanceof Error
    ? error.stack ?? error.message
    : String(error);
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  if (error instanceof HastError) return error.exitCode;
  // A worker that dies of a signal is started again.
  if (face === "worker") Deno.kill(Deno.pid, "SIGABRT");
  return EX.software;
}

async function main(): Promise<number> {
  const chosen = chooseFace();
  if (chosen === undefined) {
    const usage = "usage: main.ts hastd | hastctl [argument ...]\n";
    Deno.stderr.writeSync(new TextEncoder().encode(usage));
    return EX.usage;
  }
  const { face, args } = chosen;
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    Deno.exit(fail(face, event.reason));
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    Deno.exit(fail(face, event.error));
  });
  try {
    return await run(face, args);
  } catch (error) {
    return fail(face, error);
  }
}

Deno.exit(await main());
