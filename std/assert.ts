/**
 * `@std/assert`, with types: npm:deno-std ships the JSR code without declarations, and without
 * them every import would be `any`.
 * @module
 */
// @ts-types="./types/assert.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
