/**
 * Errors that reach an administrator, and the exit codes they end a program with.
 *
 * Trouble outside (configuration, peer, disk, client) is a {@link HastError}. A bug is an
 * {@link AssertionFailed}: nothing catches it but the outermost frame.
 *
 * Source: sysexits(3).
 * @module
 */

/** Exit codes of sysexits(3) that hastd and hastctl use. */
export const EX = {
  ok: 0,
  usage: 64,
  dataErr: 65,
  noInput: 66,
  unavailable: 69,
  software: 70,
  osErr: 71,
  osFile: 72,
  cantCreate: 73,
  ioErr: 74,
  tempFail: 75,
  config: 78,
} as const;

/** Trouble that is not a bug: the message is for the administrator, the code for the parent. */
export class HastError extends Error {
  override name = "HastError";
  /** What the program exits with if nothing handles this error, see {@link EX}. */
  readonly exitCode: number;
  constructor(exitCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** A file of configuration is wrong: exit code 78 (EX_CONFIG). */
export class ConfigError extends HastError {
  override name = "ConfigError";
  constructor(message: string) {
    super(EX.config, message);
  }
}

/** The other side of a connection broke the protocol: the connection ends. */
export class ProtocolError extends HastError {
  override name = "ProtocolError";
  constructor(message: string) {
    super(EX.tempFail, message); // 75 asks for a restart; any other code returns the role to init.
  }
}

/** A statement about this program's own state was false: a bug, never bad input. */
export class AssertionFailed extends Error {
  override name = "AssertionFailed";
}

/**
 * Checks what must be so unless this program is wrong.
 *
 * @throws {AssertionFailed} `condition` is false.
 */
export function invariant(condition: boolean, statement: string): asserts condition {
  if (!condition) throw new AssertionFailed(`Assertion failed: ${statement}`);
}

/** Ends a `switch` over a tagged union: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new AssertionFailed(`Unexpected value: ${JSON.stringify(value)}`);
}

/** The text of anything that was thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
