/**
 * Tests that need something of the machine: registered as skipped, with the reason in their name,
 * where it is not there. `tests/support/report.ts` prints these names at the end of the run.
 * @module
 */

/** A program in PATH, or one of the words below. */
export type Need = "root" | "linux" | "fuse" | "loop" | "ipv6" | `program ${string}`;

const SYSTEM_FOLDERS = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false; // No file, or none that we may see: of no use either way.
  }
}

function hasProgram(name: string): boolean {
  const folders = [...(Deno.env.get("PATH") ?? "").split(":"), ...SYSTEM_FOLDERS];
  return folders.some((folder) => exists(`${folder}/${name}`));
}

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false; // The kernel, or the loopback interface, has none.
  }
}

/** Why a need is not met, or undefined. */
function lack(need: Need): string | undefined {
  switch (need) {
    case "root":
      return Deno.uid() === 0 ? undefined : "needs root";
    case "linux":
      return Deno.build.os === "linux" ? undefined : "needs Linux";
    case "fuse":
      return exists("/dev/fuse") ? undefined : "needs /dev/fuse";
    case "loop":
      return exists("/dev/loop-control") ? undefined : "needs loop devices";
    case "ipv6":
      return hasIpv6() ? undefined : "needs IPv6";
    default: {
      const program = need.slice("program ".length);
      return hasProgram(program) ? undefined : `needs the program ${program}`;
    }
  }
}

/** Why something that has these needs cannot run here; empty where it can. */
export function missingNeeds(needs: readonly Need[]): string[] {
  return needs.map(lack).filter((reason) => reason !== undefined);
}

/** Registers a test that is skipped, with the reason, where one of `needs` is missing. */
export function testWith(needs: Need[], name: string, fn: () => Promise<void>): void {
  const reasons = missingNeeds(needs);
  if (reasons.length === 0) Deno.test(name, fn);
  else Deno.test({ name: `${name} (skipped: ${reasons.join(", ")})`, ignore: true, fn });
}
