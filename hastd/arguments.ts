/**
 * The command line of hastd.
 *
 * Source: hastd(8); cli.json has the texts.
 * @module
 */
import { getopt } from "../base/getopt.ts";

export const CONFIG_PATH_DEFAULT = "/etc/hast.conf";

/** The original's, to the byte: scripts compare it, and it does not know `-n`. */
export const USAGE = "hastd: [-dFh] [-c config] [-P pidfile]\n";

/** What `--help` adds. */
export const HELP = `${USAGE}
  -c config   read this file, not ${CONFIG_PATH_DEFAULT}
  -d          log more; may be repeated
  -F          stay in the foreground, log to standard output and error
  -h          print the first line and exit with 64
  -n node     be this node of the configuration, whatever the host is called
  -P pidfile  write the process id to this file

Environment: HAST_RUNDIR, the folder of the NBD sockets (/var/run/hast).
`;

/** A command line, understood. */
export interface Arguments {
  /** As given: may be relative. */
  configPath: string;
  debugLevel: number;
  foreground: boolean;
  nodeName: string | undefined;
  pidfilePath: string | undefined;
}

/** Understands the command line; operands are ignored, as the original does. */
export function parseArguments(
  args: readonly string[],
): Arguments | { usage: string } | "help" {
  const parsed: Arguments = {
    configPath: CONFIG_PATH_DEFAULT,
    debugLevel: 0,
    foreground: false,
    nodeName: undefined,
    pidfilePath: undefined,
  };
  const { options, complaint } = getopt(args, "c:dFhn:P:", ["help"]);
  for (const { name, value } of options) {
    switch (name) {
      case "c":
        parsed.configPath = value;
        break;
      case "d":
        parsed.debugLevel++;
        break;
      case "F":
        parsed.foreground = true;
        break;
      case "n":
        parsed.nodeName = value;
        break;
      case "P":
        parsed.pidfilePath = value;
        break;
      case "h":
        return { usage: USAGE };
      case "help":
        return "help";
    }
  }
  return complaint === undefined ? parsed : { usage: `hastd: ${complaint}\n${USAGE}` };
}
