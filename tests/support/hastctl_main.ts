/** Runs hastctl as a program of its own: `deno run -A tests/support/hastctl_main.ts ARGUMENTS`. */
import { hastctlMain } from "../../hastctl/cli.ts";
import { nodeIdentity } from "../../hastd/node_identity.ts";

Deno.exit(await hastctlMain(Deno.args, nodeIdentity));
