/**
 * Authentication: the handshake of two nodes that share a secret. Fields that the original does not
 * know are added to its messages, so that the same two steps do:
 *
 *   1  primary    resource, version, ...   auth, authciphers, authnonce, authkey, authproof
 *      secondary  version, token           auth, authcipher, authnonce, authkey, authproof
 *                 or errmsg, [wait]        authproof
 *   2  primary    resource, token          authsealed: the rest of the message, sealed
 *      and from here on both connections carry records (protocol/secure_record.ts)
 *
 *   auth         uint8         1, the number of this scheme
 *   authciphers  string        ciphers that the primary has, the preferred one first
 *   authcipher   string        the one that is used
 *   authnonce    uint8 array   32 random bytes
 *   authkey      uint8 array   a public key of X25519, for this handshake only
 *   authproof    uint8 array   HMAC-SHA256 over all that was said so far, this message included
 *   authsealed   uint8 array   one record, with a name-value block
 *
 * What each part is for:
 * - The proof of step 1 shows that the primary knows the secret. It could be repeated by somebody who
 *   has listened, and gains him an answer that he can do nothing with; but who never heard a node that
 *   knows the secret makes the secondary do no more than one HMAC, and learns nothing.
 * - The proof of the answer covers the primary's nonce: it cannot be an old one. It also needs what
 *   both have agreed by their keys, so nobody is between the nodes.
 * - What is sealed in step 2 can only come from the primary that this answer was for: the link that
 *   exists is not touched before that. Counters are inside.
 * - Keys of records are made from the secret and from what the nodes have agreed, and depend on every
 *   byte that was said. The private keys are forgotten: who finds out the secret later cannot read
 *   what he has recorded.
 *
 * `psk` is HKDF-Extract("hast secret", the secret); `both` is HKDF-Extract(psk, what X25519 gives). A
 * proof is HMAC(HKDF-Expand(psk or both, PURPOSE), transcript). The transcript begins as zeros; each
 * message makes it SHA-256(transcript, NAME, 0, its block without authproof), in the names below.
 *
 * Source: RFC 5869, RFC 7748; the order is that of the pattern NNpsk0 of the Noise framework.
 * @module
 */
import { timingSafeEqual } from "node:crypto";
import { invariant, ProtocolError } from "../base/errors.ts";
import { hkdfExpand, hkdfExtract, hmacSha256, sha256, SHA256_BYTES } from "./hkdf.ts";
import { Nv } from "./nv.ts";
import { type CipherName, RecordOpener, RecordSealer } from "./secure_record.ts";
import { KeyPair, X25519_BYTES } from "./x25519.ts";

/** A secret has at least so many bytes; what is shorter could be guessed. */
export const SECRET_BYTES_MIN = 32;
/** Random bytes that each side needs for a handshake. */
export const SEED_BYTES = 64;

/** What the secondary says where the primary does not prove to know the secret. */
export const AUTHENTICATION_FAILED = "Authentication failed.";
/** Where it does not try to. */
export const AUTHENTICATION_REQUIRED = "Authentication required.";
/** Where it asks for authentication, and the secondary has no secret. */
export const AUTHENTICATION_UNKNOWN = "Authentication failed: no secret is configured.";

const SCHEME = 1;
const NONCE_BYTES = 32;
const PROOF = "authproof";
const SEALED = "authsealed";
const UNPROVEN = "did not prove its second step";

const encoder = new TextEncoder();

/**
 * The other side does not prove what it has to. The message says what is wrong, as the end of a
 * sentence about it: `does not know the secret`.
 */
export class AuthenticationError extends ProtocolError {
  override name = "AuthenticationError";
}

/** What is made of a secret, see {@link secretKey}. */
export type SecretKey = Uint8Array;

/** Keys of one connection, one for each direction. */
export interface ConnectionKeys {
  toSecondary: Uint8Array;
  toPrimary: Uint8Array;
}

/** What both sides have after a handshake, and nobody else. */
export interface Session {
  cipher: CipherName;
  /** Connection 1. */
  requests: ConnectionKeys;
  /** Connection 2. */
  replies: ConnectionKeys;
}

/**
 * The key for the content of a secret's file. Line ends behind it do not count: editors add them.
 *
 * @returns undefined where it is shorter than {@link SECRET_BYTES_MIN}.
 */
export function secretKey(content: Uint8Array): SecretKey | undefined {
  let end = content.length;
  while (content[end - 1] === 0x0a || content[end - 1] === 0x0d) end--;
  if (end < SECRET_BYTES_MIN) return undefined;
  return hkdfExtract(encoder.encode("hast secret"), content.subarray(0, end));
}

/** Whether a first request or its answer is one with authentication. */
export function hasAuthentication(header: Nv): boolean {
  return header.has("auth");
}

/** What was said so far, as a hash. */
class Transcript {
  readonly #hash: Uint8Array;

  constructor(hash: Uint8Array = new Uint8Array(SHA256_BYTES)) {
    this.#hash = hash;
  }

  /** The transcript with one message more. */
  with(name: string, message: Nv): Transcript {
    const block = message.without(PROOF).encode();
    return new Transcript(sha256(this.#hash, encoder.encode(`${name}\0`), block));
  }

  /** The proof of whoever knows `key`. */
  proof(key: Uint8Array, purpose: string): Uint8Array<ArrayBuffer> {
    return hmacSha256(hkdfExpand(key, encoder.encode(purpose)), this.#hash);
  }

  /** A key that is for this `purpose` after these messages only. */
  key(from: Uint8Array, purpose: string): Uint8Array<ArrayBuffer> {
    return hkdfExpand(from, sha256(this.#hash, encoder.encode(purpose)));
  }
}

/** What each side draws for one handshake. */
class Ephemeral {
  readonly nonce: Uint8Array;
  readonly keys: KeyPair;

  constructor(seed: Uint8Array) {
    invariant(seed.length === SEED_BYTES, "a seed has its size");
    this.nonce = seed.slice(0, NONCE_BYTES);
    this.keys = new KeyPair(seed.subarray(NONCE_BYTES));
  }

  addTo(message: Nv): void {
    message.addU8Array("authnonce", this.nonce).addU8Array("authkey", this.keys.publicKey);
  }
}

/** The primary's side of one handshake; its methods are called in this order. */
export class PrimaryAuthentication {
  readonly #secret: SecretKey;
  readonly #ciphers: readonly CipherName[];
  readonly #ephemeral: Ephemeral;
  #transcript = new Transcript();
  #both: Uint8Array = new Uint8Array(0);
  #cipher: CipherName | undefined = undefined;

  /**
   * @param ciphers Those that this program has, the preferred one first.
   * @param seed {@link SEED_BYTES} random bytes, never used before.
   */
  constructor(secret: SecretKey, ciphers: readonly CipherName[], seed: Uint8Array) {
    this.#secret = secret;
    this.#ciphers = ciphers;
    this.#ephemeral = new Ephemeral(seed);
  }

  /** Adds our part to the first request. Nothing may be added behind it. */
  addTo(request: Nv): void {
    request.addU8("auth", SCHEME).addString("authciphers", this.#ciphers.join(" "));
    this.#ephemeral.addTo(request);
    this.#transcript = this.#transcript.with("first request", request);
    request.addU8Array(PROOF, this.#transcript.proof(this.#secret, "first request"));
  }

  /** Whether a refusal of our first request comes from a node that knows the secret. */
  isProven(refusal: Nv): boolean {
    const transcript = this.#transcript.with("refusal", refusal);
    return proves(refusal, transcript.proof(this.#secret, "refusal"));
  }

  /**
   * Checks the answer to the first request.
   *
   * @throws {AuthenticationError} It does not prove that the other node knows the secret.
   */
  check(answer: Nv): void {
    if (!hasAuthentication(answer)) throw new AuthenticationError("offers no authentication");
    const { publicKey } = decodeOffer(answer);
    this.#cipher = this.#ciphers.find((name) => name === answer.string("authcipher"));
    if (this.#cipher === undefined) {
      throw new AuthenticationError("has no cipher in common with us");
    }
    this.#transcript = this.#transcript.with("first answer", answer);
    this.#both = agreed(this.#secret, this.#ephemeral.keys, publicKey);
    if (proves(answer, this.#transcript.proof(this.#both, "first answer"))) return;
    throw new AuthenticationError("does not know the secret");
  }

  /** Seals what the second request has to say, and adds it. Nothing may be added behind it. */
  seal(request: Nv, content: Nv): void {
    const cipher = this.#agreedCipher();
    this.#transcript = this.#transcript.with("second request", request);
    const key = this.#transcript.key(this.#both, "second request");
    request.addU8Array(SEALED, new RecordSealer(cipher, key).seal(content.encode()));
    this.#transcript = this.#transcript.with("sealed request", request);
  }

  /** The keys that follow from all that. */
  session(): Session {
    return sessionOf(this.#agreedCipher(), this.#both, this.#transcript);
  }

  #agreedCipher(): CipherName {
    invariant(this.#cipher !== undefined, "the answer was checked");
    return this.#cipher;
  }
}

/** The secondary's side of one handshake. */
export class SecondaryAuthentication {
  readonly #secret: SecretKey;
  readonly #cipher: CipherName;
  readonly #publicKey: Uint8Array;
  #transcript: Transcript;
  #both: Uint8Array = new Uint8Array(0);

  /** Use {@link SecondaryAuthentication.begin}. */
  private constructor(
    secret: SecretKey,
    cipher: CipherName,
    publicKey: Uint8Array,
    transcript: Transcript,
  ) {
    this.#secret = secret;
    this.#cipher = cipher;
    this.#publicKey = publicKey;
    this.#transcript = transcript;
  }

  /**
   * Checks a first request, from anybody who can connect, at the cost of a few hashes.
   *
   * @param secrets Any of them will do; it is the one of this handshake then.
   * @param ciphers Those that this program has, the preferred one first.
   * @throws {AuthenticationError} It does not prove that the other node knows one of the secrets.
   */
  static begin(
    request: Nv,
    secrets: readonly SecretKey[],
    ciphers: readonly CipherName[],
  ): SecondaryAuthentication {
    if (!hasAuthentication(request)) throw new AuthenticationError("offers no authentication");
    const { publicKey } = decodeOffer(request);
    const transcript = new Transcript().with("first request", request);
    const secret = secrets.filter((each) => {
      return proves(request, transcript.proof(each, "first request"));
    })[0];
    if (secret === undefined) throw new AuthenticationError("does not know the secret");
    const offered = request.string("authciphers")?.split(" ") ?? [];
    const cipher = ciphers.find((name) => offered.includes(name));
    if (cipher === undefined) throw new AuthenticationError("has no cipher in common with us");
    return new SecondaryAuthentication(secret, cipher, publicKey, transcript);
  }

  /** Makes a refusal one that the primary can believe. Nothing may be added behind it. */
  addToRefusal(refusal: Nv): void {
    const transcript = this.#transcript.with("refusal", refusal);
    refusal.addU8Array(PROOF, transcript.proof(this.#secret, "refusal"));
  }

  /**
   * Adds our part to the answer. Nothing may be added behind it.
   *
   * @param seed {@link SEED_BYTES} random bytes, never used before.
   * @throws {AuthenticationError} The primary's public key is none.
   */
  addTo(answer: Nv, seed: Uint8Array): void {
    const ephemeral = new Ephemeral(seed);
    answer.addU8("auth", SCHEME).addString("authcipher", this.#cipher);
    ephemeral.addTo(answer);
    this.#transcript = this.#transcript.with("first answer", answer);
    this.#both = agreed(this.#secret, ephemeral.keys, this.#publicKey);
    answer.addU8Array(PROOF, this.#transcript.proof(this.#both, "first answer"));
  }

  /**
   * What the second request has to say.
   *
   * @throws {AuthenticationError} It does not come from the primary of the first request.
   */
  open(request: Nv): Nv {
    const sealed = request.u8Array(SEALED);
    if (sealed === undefined) throw new AuthenticationError(UNPROVEN);
    const transcript = this.#transcript.with("second request", request.without(SEALED));
    const key = transcript.key(this.#both, "second request");
    const content = openOnly(sealed, new RecordOpener(this.#cipher, key));
    this.#transcript = transcript.with("sealed request", request);
    return content;
  }

  /** The keys that follow from all that. */
  session(): Session {
    return sessionOf(this.#cipher, this.#both, this.#transcript);
  }
}

/** The content of a message that is one record. */
function openOnly(record: Uint8Array, opener: RecordOpener): Nv {
  try {
    if (opener.recordBytes(record, 0, record.length) === record.length) {
      return Nv.decode(opener.open(record));
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
  }
  throw new AuthenticationError(UNPROVEN);
}

/** Checks the form of what the other side offers. */
function decodeOffer(message: Nv): { publicKey: Uint8Array } {
  const scheme = message.u8("auth");
  if (scheme !== SCHEME) {
    throw new AuthenticationError(`uses scheme ${scheme ?? "none"}, not ${SCHEME}`);
  }
  const publicKey = message.u8Array("authkey");
  const nonce = message.u8Array("authnonce");
  if (publicKey?.length !== X25519_BYTES || nonce?.length !== NONCE_BYTES) {
    throw new AuthenticationError("sent a nonce or key of a wrong size");
  }
  return { publicKey };
}

/** Whether `message` has this proof; takes the same time wherever they differ. */
function proves(message: Nv, proof: Uint8Array): boolean {
  const claimed = message.u8Array(PROOF);
  return claimed?.length === proof.length && timingSafeEqual(claimed, proof);
}

/** What only these two nodes can know. */
function agreed(secret: SecretKey, keys: KeyPair, publicKey: Uint8Array): Uint8Array {
  try {
    return hkdfExtract(secret, keys.agree(publicKey));
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new AuthenticationError("sent a public key that is none");
  }
}

function sessionOf(cipher: CipherName, both: Uint8Array, transcript: Transcript): Session {
  const keysOf = (connection: string): ConnectionKeys => ({
    toSecondary: transcript.key(both, `${connection} to secondary`),
    toPrimary: transcript.key(both, `${connection} to primary`),
  });
  return { cipher, requests: keysOf("requests"), replies: keysOf("replies") };
}
