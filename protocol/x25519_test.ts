import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../base/errors.ts";
import { KeyPair, X25519_BYTES } from "./x25519.ts";

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array((hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16)));
}

/** RFC 7748, section 6.1. */
const ALICE = {
  privateKey: bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
  publicKey: bytes("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"),
};
const BOB = {
  privateKey: bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"),
  publicKey: bytes("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"),
};
const AGREED = bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");

Deno.test("KeyPair gives what RFC 7748 says", () => {
  for (const { privateKey, publicKey } of [ALICE, BOB]) {
    assertEquals(new KeyPair(privateKey).publicKey, publicKey);
  }
  assertEquals(new KeyPair(ALICE.privateKey).agree(BOB.publicKey), AGREED);
  assertEquals(new KeyPair(BOB.privateKey).agree(ALICE.publicKey), AGREED);
});

Deno.test("KeyPair.agree() refuses public keys that lead everybody to the same", () => {
  const pair = new KeyPair(BOB.privateKey);
  const one = new Uint8Array(X25519_BYTES);
  one[0] = 1;
  for (const publicKey of [new Uint8Array(X25519_BYTES), one]) {
    assertThrows(() => pair.agree(publicKey), ProtocolError);
  }
  assertNotEquals(pair.agree(ALICE.publicKey), new Uint8Array(X25519_BYTES));
});
