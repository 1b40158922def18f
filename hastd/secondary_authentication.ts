/**
 * The secondary's authentication of a first request: whether it is asked for, and the answers and log
 * lines of those who do not pass.
 *
 * Source: protocol/secure.ts.
 * @module
 */
import { ConfigError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { encodeRefusal } from "../protocol/handshake.ts";
import type { Nv } from "../protocol/nv.ts";
import {
  AUTHENTICATION_FAILED,
  AUTHENTICATION_REQUIRED,
  AUTHENTICATION_UNKNOWN,
  AuthenticationError,
  hasAuthentication,
  SecondaryAuthentication,
  type SecretKey,
  SEED_BYTES,
} from "../protocol/secure.ts";
import { availableCiphers } from "../protocol/secure_record.ts";
import { readSecrets } from "./secret_file.ts";

/** What came of it; `authentication` is undefined where neither node has a secret. */
export type Authentication =
  | { kind: "passed"; authentication: SecondaryAuthentication | undefined }
  | { kind: "refused"; refusal: Nv };

/**
 * Checks a first request against the secrets of its resource.
 *
 * @param peer Whose it is, for the log.
 */
export function authenticate(
  request: Nv,
  secretPaths: readonly string[],
  peer: string,
  log: Log,
): Authentication {
  let secrets: readonly SecretKey[] | undefined;
  try {
    secrets = readSecrets(secretPaths);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.error(`${AUTHENTICATION_FAILED} Client ${peer} is refused: ${error.message}`);
    return refused(AUTHENTICATION_FAILED);
  }
  const asked = hasAuthentication(request);
  if (secrets === undefined) {
    if (!asked) return { kind: "passed", authentication: undefined };
    log.error(`Authentication failed: Client ${peer} asks for a secret, none is configured here.`);
    return refused(AUTHENTICATION_UNKNOWN);
  }
  if (!asked) {
    log.error(`Authentication required: Client ${peer} offers none.`);
    return refused(AUTHENTICATION_REQUIRED);
  }
  try {
    const authentication = SecondaryAuthentication.begin(request, secrets, availableCiphers());
    return { kind: "passed", authentication };
  } catch (error) {
    return refused(refuse(error, peer, log));
  }
}

/**
 * Adds our part to the answer to the first request. Returns whether that was possible.
 */
export function authenticateAnswer(
  authentication: SecondaryAuthentication,
  answer: Nv,
  peer: string,
  log: Log,
): boolean {
  try {
    authentication.addTo(answer, crypto.getRandomValues(new Uint8Array(SEED_BYTES)));
    return true;
  } catch (error) {
    refuse(error, peer, log);
    return false;
  }
}

/** Logs that somebody did not pass. Returns what he is told. Throws what is no such error. */
export function refuse(error: unknown, peer: string, log: Log): string {
  if (!(error instanceof AuthenticationError)) throw error;
  log.error(`Authentication failed: Client ${peer} ${error.message}.`);
  return AUTHENTICATION_FAILED;
}

function refused(message: string): Authentication {
  return { kind: "refused", refusal: encodeRefusal(message) };
}
