/**
 * Loaded in front of every test file: opens the C library, which stays open to the end. Otherwise
 * the first test of a file that uses it would seem to leak it (Deno before 2.9).
 * @module
 */
import { freebsdLibc, libc, linuxLibc } from "../../ffi/libc.ts";

libc();
if (Deno.build.os === "linux") linuxLibc();
if (Deno.build.os === "freebsd") freebsdLibc();
