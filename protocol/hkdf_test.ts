import { assertEquals } from "@std/assert";
import { hkdfExpand, hkdfExtract, hmacSha256, sha256 } from "./hkdf.ts";

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array((hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16)));
}

function hex(data: Uint8Array): string {
  return [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

/** RFC 4231, test cases 1, 2, 3, 4, 6 and 7; case 5 is of a shortened result. */
const HMAC_VECTORS: [key: Uint8Array, data: Uint8Array, mac: string][] = [
  [
    bytes("0b".repeat(20)),
    text("Hi There"),
    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
  ],
  [
    text("Jefe"),
    text("what do ya want for nothing?"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  ],
  [
    bytes("aa".repeat(20)),
    bytes("dd".repeat(50)),
    "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
  ],
  [
    bytes("0102030405060708090a0b0c0d0e0f10111213141516171819"),
    bytes("cd".repeat(50)),
    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
  ],
  [
    bytes("aa".repeat(131)),
    text("Test Using Larger Than Block-Size Key - Hash Key First"),
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
  ],
  [
    bytes("aa".repeat(131)),
    text(
      "This is a test using a larger than block-size key and a larger than block-size data. " +
        "The key needs to be hashed before being used by the HMAC algorithm.",
    ),
    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
  ],
];

Deno.test("hmacSha256() gives what RFC 4231 says", () => {
  for (const [key, data, mac] of HMAC_VECTORS) {
    assertEquals(hex(hmacSha256(key, data)), mac);
    assertEquals(hex(hmacSha256(key, data.subarray(0, 3), data.subarray(3))), mac);
  }
});

interface HkdfVector {
  material: string;
  salt: string;
  info: string;
  key: string;
  expanded: string;
}

function counting(from: number, to: number): string {
  return hex(Uint8Array.from({ length: to - from + 1 }, (_, index) => from + index));
}

/** RFC 5869, A.1 to A.3. */
const HKDF_VECTORS: HkdfVector[] = [
  {
    material: "0b".repeat(22),
    salt: counting(0x00, 0x0c),
    info: counting(0xf0, 0xf9),
    key: "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
    expanded: "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf" +
      "34007208d5b887185865",
  },
  {
    material: counting(0x00, 0x4f),
    salt: counting(0x60, 0xaf),
    info: counting(0xb0, 0xff),
    key: "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
    expanded: "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c" +
      "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71" +
      "cc30c58179ec3e87c14c01d5c1f3434f1d87",
  },
  {
    material: "0b".repeat(22),
    salt: "",
    info: "",
    key: "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
    expanded: "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d" +
      "9d201395faa4b61a96c8",
  },
];

Deno.test("hkdfExtract() and hkdfExpand() give what RFC 5869 says", () => {
  for (const { material, salt, info, key, expanded } of HKDF_VECTORS) {
    const extracted = hkdfExtract(bytes(salt), bytes(material));
    assertEquals(hex(extracted), key);
    assertEquals(hex(hkdfExpand(extracted, bytes(info), expanded.length / 2)), expanded);
  }
});

Deno.test("sha256() takes its pieces as one", () => {
  const whole = sha256(text("abc"));
  assertEquals(hex(whole), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assertEquals(sha256(text("a"), text(""), text("bc")), whole);
});
