/** `@std/cli` (parseArgs), with types; see `std/assert.ts`. @module */
// @ts-types="./types/cli.d.ts"
export * from "npm:deno-std@1.4.0/cli/parse_args.js";
