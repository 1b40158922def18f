/**
 * Secrets as files: who may read them, how long they are, and what is made of them.
 *
 * Source: hast.conf(5), SECRETS.
 * @module
 */
import { ConfigError, EX, HastError } from "../base/errors.ts";
import { systemErrorText } from "../base/system_error.ts";
import type { Config } from "../conf/config.ts";
import { SECRET_BYTES_MIN, type SecretKey, secretKey } from "../protocol/secure.ts";

/** Ours: what is longer is hardly meant to be a secret. */
export const SECRET_BYTES_MAX = 4096;

const OTHERS = 0o077;

/**
 * Reads the secrets of a resource. They are read each time that one is needed, so that a file that
 * was replaced counts from the next connection on.
 *
 * @returns Their keys, in the order of `paths`; undefined where the resource has no secret.
 * @throws {ConfigError} One of them cannot be used; there is no doing without it.
 */
export function readSecrets(paths: readonly string[]): SecretKey[] | undefined {
  return paths.length === 0 ? undefined : paths.map(readSecret);
}

/**
 * Checks all secrets that a configuration names.
 *
 * @throws {ConfigError} One of them cannot be used.
 */
export function checkSecrets({ resources }: Config): void {
  for (const path of new Set(resources.flatMap(({ secretPaths }) => secretPaths))) readSecret(path);
}

function readSecret(path: string): SecretKey {
  try {
    // Opening what is no file could wait for ever.
    checkFile(Deno.statSync(path));
    using file = Deno.openSync(path);
    const info = file.statSync();
    checkFile(info);
    const key = secretKey(readAll(file, info.size));
    if (key !== undefined) return key;
    throw unusable(`it has less than ${SECRET_BYTES_MIN} bytes`);
  } catch (error) {
    const reason = error instanceof HastError ? error.message : systemErrorText(error);
    throw new ConfigError(`Unable to use secret ${path}: ${reason}.`);
  }
}

function checkFile({ isFile, mode, uid, size }: Deno.FileInfo): void {
  if (!isFile) throw unusable("it is no file");
  const bits = mode ?? OTHERS;
  if ((bits & OTHERS) !== 0) {
    const shown = (bits & 0o777).toString(8).padStart(4, "0");
    throw unusable(`it is open to others than its owner (mode ${shown}); chmod 600 it`);
  }
  if (uid !== 0 && uid !== Deno.uid()) {
    throw unusable(`it belongs to user ${uid}, not to root or to the user of this program`);
  }
  if (size > SECRET_BYTES_MAX) throw unusable(`it has more than ${SECRET_BYTES_MAX} bytes`);
}

function readAll(file: Deno.FsFile, byteCount: number): Uint8Array {
  const bytes = new Uint8Array(byteCount);
  let filled = 0;
  while (filled < byteCount) {
    const got = file.readSync(bytes.subarray(filled));
    if (got === null) break;
    filled += got;
  }
  return bytes.subarray(0, filled);
}

function unusable(reason: string): HastError {
  return new HastError(EX.config, reason);
}
