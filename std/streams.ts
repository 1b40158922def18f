/** `@std/streams` (TextLineStream), with types; see `std/assert.ts`. @module */
// @ts-types="./types/streams.d.ts"
export * from "npm:deno-std@1.4.0/streams/text_line_stream.js";
