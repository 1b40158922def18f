import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import { SECRET_BYTES_MIN, secretKey } from "../protocol/secure.ts";
import { resourceConfig } from "../tests/support/main_process.ts";
import { checkSecrets, readSecrets, SECRET_BYTES_MAX } from "./secret_file.ts";

/** Runs a test with a folder; `write` makes a file in it and returns its path. */
function withFolder(
  test: (write: (name: string, byteCount: number, mode: number) => string) => void,
): void {
  const folder = Deno.makeTempDirSync({ prefix: "hast-secret-" });
  try {
    test((name, byteCount, mode) => {
      const path = `${folder}/${name}`;
      Deno.writeFileSync(path, new Uint8Array(byteCount).fill(byteCount & 0xff));
      Deno.chmodSync(path, mode);
      return path;
    });
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function refuses(path: string, ...parts: string[]): void {
  const error = assertThrows(() => readSecrets([path]), ConfigError);
  assert(error.message.startsWith(`Unable to use secret ${path}: `), error.message);
  for (const part of parts) assert(error.message.includes(part), error.message);
}

Deno.test("readSecrets() reads each file, in their order", () =>
  withFolder((write) => {
    const [first, second] = [write("a", 32, 0o600), write("b", SECRET_BYTES_MAX, 0o400)];
    const keys = readSecrets([first, second]);
    assertEquals(keys, [
      secretKey(new Uint8Array(32).fill(32)),
      secretKey(new Uint8Array(SECRET_BYTES_MAX)),
    ]);
    assertNotEquals(keys, readSecrets([second, first]));
    assertEquals(readSecrets([]), undefined);
  }));

Deno.test("readSecrets() refuses a file that anybody else may read or write", () =>
  withFolder((write) => {
    for (const mode of [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o777]) {
      refuses(
        write("open", 64, mode),
        "open to others",
        `(mode 0${mode.toString(8)})`,
        "chmod 600",
      );
    }
    assertEquals(readSecrets([write("open", 64, 0o600)])?.length, 1);
  }));

Deno.test("readSecrets() refuses what is missing, too short, too long or no file", () =>
  withFolder((write) => {
    const short = write("short", SECRET_BYTES_MIN - 1, 0o600);
    refuses(short, "it has less than 32 bytes.");
    refuses(write("empty", 0, 0o600), "it has less than 32 bytes.");
    refuses(write("long", SECRET_BYTES_MAX + 1, 0o600), "it has more than 4096 bytes.");
    refuses(`${short}.missing`, "No such file or directory.");
    refuses(short.slice(0, short.lastIndexOf("/")), "it is no file.");
    refuses("/dev/zero", "it is no file.");
  }));

Deno.test({
  name: "readSecrets() refuses a file of another user",
  ignore: Deno.uid() !== 0,
  fn: () =>
    withFolder((write) => {
      const path = write("others", 64, 0o600);
      Deno.chownSync(path, 12345, null);
      refuses(path, "it belongs to user 12345");
    }),
});

Deno.test("checkSecrets() looks at the files of every resource", () =>
  withFolder((write) => {
    const good = write("good", 64, 0o600);
    const bad = write("bad", 64, 0o644);
    const configOf = (...paths: string[][]) => ({
      controlAddress: "",
      pidfilePath: "",
      listenAddresses: [],
      listenDefaulted: false,
      resources: paths.map((secretPaths) => resourceConfig("data", { secretPaths })),
    });
    checkSecrets(configOf([], [good, good]));
    assertThrows(() => checkSecrets(configOf([good], [good, bad])), ConfigError, bad);
  }));
