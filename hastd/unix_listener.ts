/**
 * A listening Unix socket: mode 0600, and in the place of one that a dead process left.
 *
 * Source: control.md, Control socket; unix(4).
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import { systemErrorName } from "../base/system_error.ts";

/** Longest path of a socket in bytes, by the size of sun_path without its NUL. */
const PATH_BYTES_MAX = Deno.build.os === "linux" ? 107 : 103;
/** Only the owner may connect. */
const UMASK = 0o177;

/** A socket that removes its file when it is closed, if the file is still its own. */
export interface UnixSocket {
  listener: Deno.UnixListener;
  close(): void;
}

/**
 * Listens at `path`. A socket file at which nobody answers is removed first; anything else that
 * is there is left alone and makes this fail.
 *
 * @throws {HastError} With strerror(3) words only; whatever else `Deno.listen` throws.
 */
export async function listenUnix(path: string): Promise<UnixSocket> {
  if (new TextEncoder().encode(path).length > PATH_BYTES_MAX) {
    throw new HastError(EX.osErr, "File name too long");
  }
  await removeStaleSocket(path);
  const listener = bind(path);
  const { ino, dev } = Deno.lstatSync(path);
  return {
    listener,
    close: () => {
      listener.close();
      const now = statusOf(path);
      if (now !== undefined && now.ino === ino && now.dev === dev) Deno.removeSync(path);
    },
  };
}

function bind(path: string): Deno.UnixListener {
  // The umask is the process's: nothing else may run until it is back, and nothing does.
  const before = Deno.umask(UMASK);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(before);
  }
}

/**
 * Removes the socket file of a process that has died.
 *
 * @throws {HastError} Somebody answers there, or it is no socket: `Address already in use`.
 */
async function removeStaleSocket(path: string): Promise<void> {
  const status = statusOf(path);
  if (status === undefined) return;
  if (status.isSocket !== true) throw inUse();
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (systemErrorName(error) !== "ECONNREFUSED") throw error;
    Deno.removeSync(path);
    return;
  }
  throw inUse();
}

function statusOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch {
    return undefined;
  }
}

function inUse(): HastError {
  return new HastError(EX.osErr, strerror(ERRNO.EADDRINUSE));
}
