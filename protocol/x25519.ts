/**
 * X25519: two nodes, each with a key pair of its own, come to a number that nobody else can know.
 *
 * Source: RFC 7748; RFC 8410 (the envelopes in which node:crypto takes keys).
 * @module
 */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { Buffer } from "node:buffer";
import { invariant, ProtocolError } from "../base/errors.ts";

/** Size of a private key, of a public key and of what is agreed. */
export const X25519_BYTES = 32;

const PRIVATE_ENVELOPE = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_ENVELOPE = Buffer.from("302a300506032b656e032100", "hex");

/** A key pair. */
export class KeyPair {
  /** {@link X25519_BYTES} bytes, for the other side. */
  readonly publicKey: Uint8Array;
  readonly #privateKey: KeyObject;

  /** @param privateKey {@link X25519_BYTES} random bytes. */
  constructor(privateKey: Uint8Array) {
    invariant(privateKey.length === X25519_BYTES, "a private key has 32 bytes");
    this.#privateKey = createPrivateKey({
      key: Buffer.concat([PRIVATE_ENVELOPE, privateKey]),
      format: "der",
      type: "pkcs8",
    });
    const envelope = createPublicKey(this.#privateKey).export({ format: "der", type: "spki" });
    this.publicKey = new Uint8Array(envelope.subarray(-X25519_BYTES));
  }

  /**
   * What this side and the other one have in common.
   *
   * @param publicKey The other side's, {@link X25519_BYTES} bytes from a stranger.
   * @throws {ProtocolError} It is one of the few that lead to the same for everybody.
   */
  agree(publicKey: Uint8Array): Uint8Array {
    invariant(publicKey.length === X25519_BYTES, "a public key has 32 bytes");
    const key = Buffer.concat([PUBLIC_ENVELOPE, publicKey]);
    let agreed: Uint8Array;
    try {
      agreed = diffieHellman({
        privateKey: this.#privateKey,
        publicKey: createPublicKey({ key, format: "der", type: "spki" }),
      });
    } catch {
      throw new ProtocolError("Cannot use a public key that is none"); // Some versions of Deno.
    }
    if (agreed.some((byte) => byte !== 0)) return new Uint8Array(agreed);
    throw new ProtocolError("Cannot use a public key that is none");
  }
}
