import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { Nv } from "./nv.ts";
import {
  AuthenticationError,
  hasAuthentication,
  PrimaryAuthentication,
  SecondaryAuthentication,
  SECRET_BYTES_MIN,
  secretKey,
  SEED_BYTES,
  type Session,
} from "./secure.ts";
import { availableCiphers, type CipherName } from "./secure_record.ts";

const SECRET = keyOf(1);
const OTHER = keyOf(2);
const AES: CipherName[] = ["aes-256-gcm"];

function keyOf(value: number): Uint8Array {
  const key = secretKey(new Uint8Array(SECRET_BYTES_MIN).fill(value));
  assert(key !== undefined);
  return key;
}

function seed(value: number): Uint8Array {
  return Uint8Array.from({ length: SEED_BYTES }, (_, index) => (index * 13 + value * 59) & 0xff);
}

/** What somebody between the nodes may do to a message. */
type Change = (message: Nv) => Nv;

/** A handshake whose messages pass through `change`, by their names. */
interface Course {
  secret: Uint8Array;
  secrets: Uint8Array[];
  primarySeed: number;
  secondarySeed: number;
  ciphers: CipherName[];
  change: Partial<Record<"firstRequest" | "firstAnswer" | "secondRequest", Change>>;
}

const COURSE: Course = {
  secret: SECRET,
  secrets: [SECRET],
  primarySeed: 1,
  secondarySeed: 2,
  ciphers: AES,
  change: {},
};

interface Outcome {
  primary: Session;
  secondary: Session;
  content: Nv;
  messages: Record<"firstRequest" | "firstAnswer" | "secondRequest", Nv>;
}

/** A message as it comes out of the network. */
function received(message: Nv, change: Change | undefined): Nv {
  const sent = Nv.decode(message.encode());
  return change === undefined ? sent : change(sent);
}

function handshake(changes: Partial<Course> = {}): Outcome {
  const course = { ...COURSE, ...changes };
  const primary = new PrimaryAuthentication(
    course.secret,
    availableCiphers(),
    seed(course.primarySeed),
  );
  const firstRequest = new Nv().addString("resource", "data").addU8("version", 2);
  primary.addTo(firstRequest);
  const secondary = SecondaryAuthentication.begin(
    received(firstRequest, course.change.firstRequest),
    course.secrets,
    course.ciphers,
  );
  const firstAnswer = new Nv().addU8("version", 2).addU8Array("token", new Uint8Array(16).fill(7));
  secondary.addTo(firstAnswer, seed(course.secondarySeed));
  primary.check(received(firstAnswer, course.change.firstAnswer));
  const secondRequest = new Nv().addString("resource", "data").addU8Array("token", seed(3));
  primary.seal(secondRequest, new Nv().addU64("localcnt", 12345));
  const content = secondary.open(received(secondRequest, course.change.secondRequest));
  return {
    primary: primary.session(),
    secondary: secondary.session(),
    content,
    messages: { firstRequest, firstAnswer, secondRequest },
  };
}

function keysOf({ requests, replies }: Session): Uint8Array[] {
  return [requests.toSecondary, requests.toPrimary, replies.toSecondary, replies.toPrimary];
}

Deno.test("two nodes with the same secret come to the same keys, all of them different", () => {
  const { primary, secondary, content } = handshake();
  assertEquals(primary, secondary);
  assertEquals(primary.cipher, "aes-256-gcm");
  assertEquals(content.u64("localcnt"), 12345n);
  assertEquals(new Set(keysOf(primary).map(String)).size, 4);
});

Deno.test("the secondary chooses the cipher among those that both have", () => {
  const ciphers = availableCiphers();
  assertEquals(handshake({ ciphers }).primary.cipher, ciphers[0]);
  assertThrows(() => handshake({ ciphers: [] }), AuthenticationError, "no cipher");
});

Deno.test("every handshake has other keys, whichever side draws another seed", () => {
  const seen = [{}, { primarySeed: 5 }, { secondarySeed: 5 }].map((changes) => {
    return String(keysOf(handshake(changes).primary));
  });
  assertEquals(new Set(seen).size, 3);
  const other = handshake({ secret: OTHER, secrets: [OTHER] });
  assertNotEquals(keysOf(other.primary), keysOf(handshake().primary));
});

Deno.test("nodes with different secrets refuse each other", () => {
  assertThrows(
    () => handshake({ secret: OTHER }),
    AuthenticationError,
    "does not know the secret",
  );
});

Deno.test("a secondary takes any of its secrets, so that they can be changed one after the other", () => {
  for (const secrets of [[SECRET, OTHER], [OTHER, SECRET]]) {
    for (const secret of secrets) {
      const { primary, secondary } = handshake({ secret, secrets });
      assertEquals(primary, secondary);
    }
  }
});

/** Every way to change one bit in the middle of one byte that leaves a block behind. */
function* tampered(message: Nv): Generator<Change> {
  const block = message.encode();
  for (let at = 0; at < block.length; at++) {
    const changed = block.slice();
    changed[at] = (changed[at] ?? 0) ^ 0x10;
    let result: Nv;
    try {
      result = Nv.decode(changed);
    } catch {
      continue; // No block any more: the frame reader refuses it.
    }
    // Padding is no part of what is said.
    if (String(result.encode()) !== String(block)) yield () => result;
  }
}

for (const name of ["firstRequest", "firstAnswer", "secondRequest"] as const) {
  Deno.test(`${name}: no byte of it can be changed`, () => {
    let tried = 0;
    for (const change of tampered(handshake().messages[name])) {
      assertThrows(() => handshake({ change: { [name]: change } }), AuthenticationError);
      tried++;
    }
    assert(tried > 100, `${tried} changes`);
  });

  Deno.test(`${name}: nothing can be added to it or taken away`, () => {
    const added: Change = (message) => message.addU8("virgin", 1);
    assertThrows(() => handshake({ change: { [name]: added } }), AuthenticationError);
    for (const entry of handshake().messages[name].entries()) {
      const change: Change = (message) => message.without(entry.name);
      assertThrows(() => handshake({ change: { [name]: change } }), AuthenticationError);
    }
  });

  Deno.test(`${name}: the one of an earlier handshake is not taken`, () => {
    const earlier = handshake({ primarySeed: 8, secondarySeed: 9 }).messages[name];
    assertThrows(() => handshake({ change: { [name]: () => earlier } }), AuthenticationError);
  });
}

Deno.test("who repeats a whole handshake of the primary does not get past its second step", () => {
  const { messages } = handshake();
  const secondary = SecondaryAuthentication.begin(messages.firstRequest, [SECRET], AES);
  secondary.addTo(new Nv().addU8("version", 2), seed(77));
  assertThrows(() => secondary.open(messages.secondRequest), AuthenticationError, "second step");
});

Deno.test("a second step that proves nothing leaves the handshake to the one that does", () => {
  const primary = new PrimaryAuthentication(SECRET, AES, seed(1));
  const firstRequest = new Nv().addString("resource", "data");
  primary.addTo(firstRequest);
  const secondary = SecondaryAuthentication.begin(firstRequest, [SECRET], AES);
  const answer = new Nv().addU8("version", 2);
  secondary.addTo(answer, seed(2));
  primary.check(answer);
  const request = new Nv().addString("resource", "data");
  const forged = new Nv().addString("resource", "data").addU8Array("authsealed", seed(4));
  assertThrows(() => secondary.open(forged), AuthenticationError);
  assertThrows(() => secondary.open(request), AuthenticationError);
  primary.seal(request, new Nv().addU8("virgin", 1));
  assertEquals(secondary.open(request).u8("virgin"), 1);
  assertEquals(secondary.session(), primary.session());
});

Deno.test("nothing of what is said in step 2 can be read on the way", () => {
  const { secondRequest } = handshake().messages;
  assertEquals(secondRequest.entries().map(({ name }) => name), [
    "resource",
    "token",
    "authsealed",
  ]);
  const counter = new Nv().addU64("localcnt", 12345).encode();
  assert(!String(secondRequest.encode()).includes(String(counter)));
});

Deno.test("a public key that leads everybody to the same is refused by both sides", () => {
  const zero: Change = (message) => {
    const without = message.without("authkey");
    return without.addU8Array("authkey", new Uint8Array(32));
  };
  // A node that knows the secret would have to send it, so it has to be proven as well.
  const request = new Nv().addU8("auth", 1).addString("authciphers", "aes-256-gcm")
    .addU8Array("authnonce", new Uint8Array(32));
  assertThrows(() => SecondaryAuthentication.begin(zero(request), [SECRET], AES));
  const honest = new PrimaryAuthentication(SECRET, AES, seed(1));
  honest.addTo(new Nv().addString("resource", "data"));
  const answer = zero(request.addString("authcipher", "aes-256-gcm"));
  assertThrows(() => honest.check(answer), AuthenticationError, "public key");
});

Deno.test("a refusal is believed only where it is proven, and belongs to this request", () => {
  const primary = new PrimaryAuthentication(SECRET, AES, seed(1));
  const request = new Nv().addString("resource", "data");
  primary.addTo(request);
  const secondary = SecondaryAuthentication.begin(request, [SECRET], AES);
  const refusal = new Nv().addString("errmsg", "Remote node acts as primary.").addU8("wait", 1);
  assert(!primary.isProven(refusal));
  secondary.addToRefusal(refusal);
  assert(primary.isProven(refusal));
  const changed = refusal.without("errmsg").addString("errmsg", "Split-brain condition!");
  assert(!primary.isProven(changed));
  assert(!new PrimaryAuthentication(SECRET, AES, seed(2)).isProven(refusal));
});

Deno.test("messages without authentication are told apart", () => {
  const { firstRequest, firstAnswer } = handshake().messages;
  assert(hasAuthentication(firstRequest));
  assert(hasAuthentication(firstAnswer));
  const plain = new Nv().addString("resource", "data");
  assert(!hasAuthentication(plain));
  assertThrows(
    () => SecondaryAuthentication.begin(plain, [SECRET], AES),
    AuthenticationError,
    "offers no authentication",
  );
});

Deno.test("secretKey() ignores line ends behind a secret and refuses short ones", () => {
  const text = new TextEncoder();
  const secret = "a".repeat(SECRET_BYTES_MIN);
  const key = secretKey(text.encode(secret));
  assert(key !== undefined);
  assertEquals(secretKey(text.encode(`${secret}\r\n\n`)), key);
  assertNotEquals(secretKey(text.encode(`${secret} `)), key);
  assertNotEquals(secretKey(text.encode(`\n${secret}`)), key);
  assertEquals(secretKey(text.encode("a".repeat(SECRET_BYTES_MIN - 1) + "\n")), undefined);
  assertEquals(secretKey(new Uint8Array(0)), undefined);
  const binary = Uint8Array.from({ length: 64 }, (_, index) => 255 - index);
  assertNotEquals(secretKey(binary), secretKey(binary.subarray(0, 63)));
});
