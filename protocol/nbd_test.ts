import { assertEquals } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { NBD_ERROR, nbdErrorOf } from "./nbd.ts";

Deno.test("nbdErrorOf() keeps to the numbers that NBD defines", () => {
  const defined: number[] = Object.values(NBD_ERROR);
  for (let errno = 0; errno < 128; errno++) {
    assertEquals(defined.includes(nbdErrorOf(errno)), true, `errno ${errno}`);
    assertEquals(nbdErrorOf(errno) === 0, errno === 0, `errno ${errno}`);
  }
});

Deno.test("nbdErrorOf() translates FreeBSD's numbers", () => {
  const table: [number, number][] = [
    [ERRNO.EPERM, 1],
    [ERRNO.EROFS, 1],
    [ERRNO.EIO, 5],
    [ERRNO.ENXIO, 5],
    [ERRNO.ENOTCONN, 5],
    [ERRNO.ENOMEM, 12],
    [ERRNO.EINVAL, 22],
    [ERRNO.ENOSPC, 28],
    [ERRNO.EDQUOT, 28],
    [ERRNO.EFBIG, 28],
    [ERRNO.EOVERFLOW, 75],
    [ERRNO.EOPNOTSUPP, 95],
    [ERRNO.ESHUTDOWN, 108],
  ];
  for (const [errno, expected] of table) assertEquals(nbdErrorOf(errno), expected, `${errno}`);
});
