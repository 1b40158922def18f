/**
 * Options of a command line as BSD's getopt(3) takes them apart: clusters (`-dd`), arguments
 * attached or apart, the end at `--` or at the first operand, and its two complaints.
 * Long options without argument are an addition; `--` alone still ends the options.
 *
 * Source: getopt(3).
 * @module
 */

/** One option: its letter, or the name of a long one, and its argument if it takes one. */
export interface Option {
  name: string;
  value: string;
}

/** What a command line holds. `complaint` is about what came after the last of `options`. */
export interface CommandLine {
  options: Option[];
  operands: string[];
  complaint: string | undefined;
}

/**
 * Takes `args` apart.
 *
 * @param letters The letters known, each followed by a colon where it takes an argument.
 * @param longNames The long options known, without their dashes.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * assertEquals(getopt(["-dc", "file", "all", "-x"], "c:d"), {
 *   options: [{ name: "d", value: "" }, { name: "c", value: "file" }],
 *   operands: ["all", "-x"],
 *   complaint: undefined,
 * });
 * ```
 */
export function getopt(
  args: readonly string[],
  letters: string,
  longNames: readonly string[] = [],
): CommandLine {
  const line: CommandLine = { options: [], operands: [], complaint: undefined };
  let index = 0;
  for (; index < args.length && line.complaint === undefined; index++) {
    const arg = args[index] ?? "";
    if (arg === "-" || !arg.startsWith("-")) break;
    if (arg === "--") {
      index++;
      break;
    }
    if (longNames.includes(arg.slice(2)) && arg.startsWith("--")) {
      line.options.push({ name: arg.slice(2), value: "" });
    } else if (takeCluster(line, arg, letters, args[index + 1])) index++;
  }
  line.operands = args.slice(index);
  return line;
}

/** Takes one argument that starts with a dash; true when it used up the `next` one too. */
function takeCluster(
  line: CommandLine,
  arg: string,
  letters: string,
  next: string | undefined,
): boolean {
  for (let at = 1; at < arg.length; at++) {
    const letter = arg.charAt(at);
    const known = letter === ":" ? -1 : letters.indexOf(letter);
    if (known === -1) {
      line.complaint = `illegal option -- ${letter}`;
      return false;
    }
    if (letters.charAt(known + 1) !== ":") {
      line.options.push({ name: letter, value: "" });
      continue;
    }
    const attached = arg.slice(at + 1);
    const value = attached === "" ? next : attached;
    if (value === undefined) line.complaint = `option requires an argument -- ${letter}`;
    else line.options.push({ name: letter, value });
    return attached === "";
  }
  return false;
}
