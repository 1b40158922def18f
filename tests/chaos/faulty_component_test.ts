/** The failing component fails when it is told to, and only then. */
import { assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../support/needs.ts";
import { FaultyComponent } from "./faulty_component.ts";

testWith(
  ["root", "linux", "fuse", "program nbdkit", "program nbdfuse", "program fusermount3"],
  "chaos component: writes fail while they are told to, reads do not",
  async () => {
    const folder = Deno.makeTempDirSync({ prefix: "hast-test-" });
    try {
      const imagePath = `${folder}/disk.img`;
      Deno.writeFileSync(imagePath, new Uint8Array(1 << 20));
      const disk = { side: 0, operation: "pwrite", ratePercent: 100 } as const;
      await using component = await FaultyComponent.create(imagePath, disk);
      using file = Deno.openSync(component.path, { read: true, write: true });
      const write = (value: number) => {
        file.seekSync(4096, Deno.SeekMode.Start);
        file.writeSync(new Uint8Array(4096).fill(value));
        file.syncDataSync();
      };
      write(1);
      component.setFailing(true);
      assertThrows(() => write(2));
      file.seekSync(0, Deno.SeekMode.Start);
      file.readSync(new Uint8Array(4096));
      component.setFailing(false);
      assertEquals(Deno.readFileSync(imagePath)[4096], 1);
      write(3);
      assertEquals(Deno.readFileSync(imagePath)[4096], 3);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
);
