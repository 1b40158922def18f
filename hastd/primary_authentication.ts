/**
 * The primary's authentication, in the words of the log.
 *
 * Source: protocol/secure.ts.
 * @module
 */
import type { Nv } from "../protocol/nv.ts";
import {
  AUTHENTICATION_FAILED,
  AUTHENTICATION_UNKNOWN,
  AuthenticationError,
  PrimaryAuthentication,
  type SecretKey,
  SEED_BYTES,
} from "../protocol/secure.ts";
import { availableCiphers } from "../protocol/secure_record.ts";

/** Begins a handshake with the first of our secrets; undefined where there is none. */
export function beginAuthentication(
  secrets: readonly SecretKey[] | undefined,
): PrimaryAuthentication | undefined {
  const [secret] = secrets ?? [];
  if (secret === undefined) return undefined;
  const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
  return new PrimaryAuthentication(secret, availableCiphers(), seed);
}

/**
 * Whether the other node knows our secret, as its answer to the first step shows.
 *
 * Of a refusal that is not proven nothing counts but that it is one: anybody could have said it.
 *
 * @throws {AuthenticationError} It does not.
 */
export function checkAuthentication(
  authentication: PrimaryAuthentication,
  header: Nv,
  remote: string,
): void {
  const refusal = header.string("errmsg");
  if (refusal !== undefined && authentication.isProven(header)) return;
  try {
    if (refusal === undefined) return authentication.check(header);
  } catch (error) {
    if (!(error instanceof AuthenticationError)) throw error;
    throw new AuthenticationError(`Authentication failed: ${remote} ${error.message}.`);
  }
  switch (refusal) {
    case AUTHENTICATION_FAILED:
      throw new AuthenticationError(`Authentication failed: ${remote} does not take our secret.`);
    case AUTHENTICATION_UNKNOWN:
      throw new AuthenticationError(`Authentication failed: ${remote} has no secret configured.`);
    default:
      throw new AuthenticationError(
        `Authentication failed: ${remote} refuses without a proof (${refusal}).`,
      );
  }
}
