import { assert, assertEquals, assertThrows } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { EX, HastError } from "../base/errors.ts";
import { logTo } from "../base/log.ts";
import {
  closeComponent,
  type Component,
  flush,
  openComponent,
  punchHole,
  readAt,
  writeAt,
  zeroRange,
} from "./block_device.ts";
import { closeFd, OPEN, openDescriptors, openFile } from "./descriptor.ts";
import { hostOs } from "./libc.ts";
import { mapPages } from "./memory.ts";

const MIB = 1024 * 1024;

/** Runs `use` with the path of a file of 1 MiB of pattern in a folder of its own. */
async function withFile(use: (path: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/component`;
    await Deno.writeFile(path, pattern(MIB));
    await use(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Bytes that are nowhere zero. */
function pattern(byteCount: number): Uint8Array {
  return Uint8Array.from({ length: byteCount }, (_, index) => 1 + (index * 7 + (index >> 9)) % 251);
}

function opened(path: string, use: (component: Component) => void): void {
  const component = openComponent(path);
  try {
    use(component);
  } finally {
    closeComponent(component);
  }
}

Deno.test("openComponent() takes a regular file, and tells its size", () =>
  withFile((path) => {
    const messages: string[] = [];
    const log = logTo((record) => messages.push(`${record.level} ${record.message}`));
    const component = openComponent(path, { log });
    const { kind, sizeBytes, sectorSizeBytes } = component;
    assertEquals([kind, sizeBytes, sectorSizeBytes], ["file", MIB, 512]);
    assertEquals(messages, [`debug Obtained info about ${path}.`, `debug Locked ${path}.`]);
    closeComponent(component);
  }));

Deno.test("readAt() and writeAt() move bytes between a component and memory", () =>
  withFile((path) => {
    const memory = mapPages(MIB);
    opened(path, ({ fd }) => {
      assertEquals(readAt(fd, memory.address, 4096, 8192), 0);
      assertEquals(memory.bytes.slice(0, 4096), pattern(MIB).slice(8192, 12288));
      memory.bytes.fill(255);
      assertEquals(writeAt(fd, memory.address + 512n, 1024, 4096), 0);
      assertEquals(flush(fd), 0);
    });
    const content = Deno.readFileSync(path);
    const expected = pattern(MIB).fill(255, 4096, 5120);
    assertEquals(content, new Uint8Array(expected));
  }));

Deno.test("readAt() says EIO at the end of the component, writeAt() what the system says", () =>
  withFile((path) => {
    const memory = mapPages(MIB);
    opened(path, ({ fd }) => {
      assertEquals(readAt(fd, memory.address, 512, MIB - 512), 0);
      assertEquals(readAt(fd, memory.address, 513, MIB - 512), ERRNO.EIO);
      assertEquals(readAt(fd, memory.address, 512, MIB), ERRNO.EIO);
      assertEquals(readAt(fd, memory.address, 0, 0), 0);
      assertEquals(readAt(fd, 1n, 512, 0), ERRNO.EFAULT);
    });
    const component = openComponent(path, { readOnly: true });
    assertEquals(writeAt(component.fd, memory.address, 512, 0), ERRNO.EBADF);
    closeComponent(component);
    assertEquals(flush(-1), ERRNO.EBADF);
  }));

Deno.test({
  name: "writeAt() passes on that the storage is full",
  ignore: Deno.build.os !== "linux",
  fn() {
    const fd = openFile("/dev/full", OPEN[hostOs()].readWrite);
    assertEquals(writeAt(fd, mapPages(4096).address, 4096, 0), ERRNO.ENOSPC);
    closeFd(fd);
  },
});

Deno.test("offsets over 4 GiB are not cut", () =>
  withFile((path) => {
    const memory = mapPages(4096);
    const offsetBytes = 5 * 1024 ** 3 + 512;
    opened(path, ({ fd }) => {
      memory.bytes.fill(9);
      assertEquals(writeAt(fd, memory.address, 512, offsetBytes), 0);
      memory.bytes.fill(0);
      assertEquals(readAt(fd, memory.address, 512, offsetBytes), 0);
      assertEquals(memory.bytes[511], 9);
    });
    assertEquals(Deno.statSync(path).size, offsetBytes + 512);
    opened(path, ({ sizeBytes }) => assertEquals(sizeBytes, offsetBytes + 512));
  }));

Deno.test({
  name: "punchHole() and zeroRange() make exactly their range zero and keep the size",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withFile((path) => {
      opened(path, ({ fd, kind }) => {
        assertEquals(punchHole(fd, kind, 4096, 65536), 0);
        assertEquals(zeroRange(fd, 200_192, 1536), 0);
        assertEquals(zeroRange(fd, MIB - 512, 1024), 0);
        assertEquals(punchHole(-1, kind, 0, 512), ERRNO.EBADF);
      });
      const expected = pattern(MIB).fill(0, 4096, 69632).fill(0, 200_192, 201_728)
        .fill(0, MIB - 512);
      assertEquals(Deno.readFileSync(path), new Uint8Array(expected));
    }),
});

Deno.test("openComponent() says what is wrong, exits 66 and leaves no descriptor", () =>
  withFile(async (path) => {
    const folder = path.slice(0, path.lastIndexOf("/"));
    using _listener = Deno.listen({ transport: "unix", path: `${folder}/socket` });
    const fifo = `${folder}/fifo`;
    assert((await new Deno.Command("mkfifo", { args: [fifo] }).output()).success);
    const cases: [string, string][] = [
      [`${folder}/none`, `Unable to open ${folder}/none: No such file or directory.`],
      [folder, `Unable to open ${folder}: Is a directory.`],
      [`${path}/below`, `Unable to open ${path}/below: Not a directory.`],
      [`${folder}/socket`, `Unable to open ${folder}/socket: Device not configured.`],
    ];
    if (Deno.build.os === "linux") {
      const tail = "mediasize: Inappropriate ioctl for device.";
      cases.push(["/dev/null", `Unable obtain provider /dev/null ${tail}`]);
      cases.push([fifo, `Unable obtain provider ${fifo} ${tail}`]);
    }
    const before = openDescriptors().length;
    for (const [bad, message] of cases) {
      const error = assertThrows(() => openComponent(bad), HastError);
      assertEquals([error.message, error.exitCode], [message, EX.noInput]);
    }
    const error = assertThrows(() => openComponent(folder, { readOnly: true }), HastError);
    assertEquals(error.message, `Unable to open ${folder}: Is a directory.`);
    assertEquals(openDescriptors().length, before);
  }));

Deno.test("a component is locked against other processes, but for reading only", () =>
  withFile(async (path) => {
    const source = `
      import { openComponent } from ${JSON.stringify(import.meta.resolve("./block_device.ts"))};
      openComponent(Deno.args[0]);
      console.log("locked");
      await Deno.stdin.read(new Uint8Array(1));`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `data:text/javascript,${encodeURIComponent(source)}`, path],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    const error = assertThrows(() => openComponent(path), HastError);
    const holder = Deno.build.os === "linux" ? `process ${child.pid}` : "another process";
    assertEquals(error.message, `Unable to lock ${path}: ${holder} has it locked.`);
    assertEquals(error.exitCode, EX.noInput);
    closeComponent(openComponent(path, { readOnly: true }));
    await child.stdin.close();
    closeComponent(openComponent(path, { lockWaitMs: 30_000 })); // Waits for the child to end.
    await child.status;
    await reader.cancel();
    opened(path, ({ sizeBytes }) => assertEquals(sizeBytes, MIB));
  }));

async function losetup(...args: string[]): Promise<string> {
  const { success, stdout } = await new Deno.Command("losetup", { args }).output();
  return success ? new TextDecoder().decode(stdout).trim() : "";
}

const canLoop = Deno.build.os === "linux" && Deno.uid() === 0 &&
  await losetup("-f").catch(() => "") !== "";

Deno.test({
  name: `block devices work like files${
    canLoop ? "" : " (skipped: loop devices need root and losetup)"
  }`,
  ignore: !canLoop,
  fn: () =>
    withFile(async (path) => {
      const device = await losetup("-f", "--show", "--sector-size", "4096", path);
      assert(device.startsWith("/dev/loop"), "a loop device is there");
      try {
        const memory = mapPages(8192);
        opened(device, (component) => {
          const { fd, kind, sizeBytes, sectorSizeBytes } = component;
          assertEquals([kind, sizeBytes, sectorSizeBytes], ["block device", MIB, 4096]);
          assertThrows(() => openComponent(device), HastError, `process ${Deno.pid} has it locked`);
          memory.bytes.fill(77);
          assertEquals(writeAt(fd, memory.address, 8192, 8192), 0);
          assertEquals(punchHole(fd, kind, 65536, 65536), 0);
          assertEquals(zeroRange(fd, 262_144, 4096), 0);
          assertEquals(readAt(fd, memory.address, 4096, 65536), 0);
          assertEquals(memory.bytes[0], 0);
          assertEquals(readAt(fd, memory.address, 4096, MIB), ERRNO.EIO);
          assertEquals(flush(fd), 0);
        });
      } finally {
        await losetup("-d", device);
      }
      const expected = pattern(MIB).fill(77, 8192, 16384).fill(0, 65536, 131_072)
        .fill(0, 262_144, 266_240);
      assertEquals(Deno.readFileSync(path), new Uint8Array(expected));
    }),
});
