import { assertEquals } from "@std/assert";
import { ERRNO, strerror } from "../base/errno.ts";
import { errnoFromLinux, errnoToLinux, lastErrno } from "./errno.ts";
import { cString, libc } from "./libc.ts";

Deno.test("errnoToLinux() and errnoFromLinux() are inverse for every number that we name", () => {
  for (const [name, errno] of Object.entries(ERRNO)) {
    assertEquals(errnoFromLinux(errnoToLinux(errno)), errno, name);
  }
  assertEquals([errnoToLinux(0), errnoFromLinux(0)], [0, 0]);
});

Deno.test("errnoFromLinux() turns what FreeBSD does not know into EIO", () => {
  assertEquals(errnoFromLinux(123), ERRNO.EIO); // ENOMEDIUM
  assertEquals(errnoToLinux(93), 5); // ENOTCAPABLE
});

Deno.test({
  name: "the numbers of Linux are those of its C library",
  ignore: Deno.build.os !== "linux",
  fn() {
    const c = Deno.dlopen("libc.so.6", {
      // const char *strerrorname_np(int errnum): glibc 2.32
      strerrorname_np: { parameters: ["i32"], result: "pointer" },
    });
    try {
      for (const [name, errno] of Object.entries(ERRNO)) {
        const pointer = c.symbols.strerrorname_np(errnoToLinux(errno));
        const known = pointer === null ? "" : new Deno.UnsafePointerView(pointer).getCString();
        assertEquals(known === "ENOTSUP" ? "EOPNOTSUPP" : known, name);
      }
    } finally {
      c.close();
    }
  },
});

Deno.test("lastErrno() tells why a call failed, in FreeBSD's numbers", () => {
  assertEquals(libc().open(cString("/nonexistent/file"), 0, 0), -1);
  assertEquals(lastErrno(), ERRNO.ENOENT);
  assertEquals(libc().shutdown(-1, 2), -1);
  assertEquals(lastErrno(), ERRNO.EBADF);
  assertEquals(libc().getsockname(0, new Uint8Array(4), new Uint8Array(4)), -1);
  assertEquals(lastErrno(), ERRNO.ENOTSOCK);
});

Deno.test("every named error has a text", () => {
  for (const [name, errno] of Object.entries(ERRNO)) {
    assertEquals(strerror(errno).startsWith("Unknown error"), false, name);
  }
});
