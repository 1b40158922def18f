/** `@std/toml`, with types; see `std/assert.ts`. @module */
// @ts-types="./types/toml.d.ts"
export * from "npm:deno-std@1.4.0/toml/mod.js";
