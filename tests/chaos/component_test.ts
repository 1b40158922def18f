/** The component fails when it is told to, and loses what was not flushed with its power. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Need, testWith } from "../support/needs.ts";
import { Component } from "./component.ts";
import type { ComponentKind } from "./plan.ts";

const NEEDS: Need[] = [
  "root",
  "linux",
  "fuse",
  "program nbdkit",
  "program nbdfuse",
  "program fusermount3",
];
const OFFSET_BYTES = 64 * 1024;
const BLOCK_BYTES = 4096;

async function withComponent(
  kind: ComponentKind,
  use: (component: Component) => void | Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "hast-test-" });
  try {
    const imagePath = `${folder}/disk.img`;
    Deno.writeFileSync(imagePath, new Uint8Array(1 << 20));
    await using component = await Component.create(imagePath, kind);
    await use(component);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function write(component: Component, value: number, flush: boolean): void {
  using file = Deno.openSync(component.path, { write: true });
  file.seekSync(OFFSET_BYTES, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array(BLOCK_BYTES).fill(value));
  if (flush) file.syncDataSync();
}

function read(component: Component): number {
  using file = Deno.openSync(component.path);
  file.seekSync(OFFSET_BYTES, Deno.SeekMode.Start);
  const bytes = new Uint8Array(BLOCK_BYTES);
  file.readSync(bytes);
  return bytes[0] ?? -1;
}

testWith(
  NEEDS,
  "chaos component: writes fail while they are told to, reads do not",
  () =>
    withComponent(
      { kind: "failing", side: 0, operation: "pwrite", ratePercent: 100 },
      (component) => {
        write(component, 1, true);
        component.setFailing(true);
        assertThrows(() => write(component, 2, true));
        assertEquals(read(component), 1);
        component.setFailing(false);
        write(component, 3, true);
        assertEquals(read(component), 3);
      },
    ),
);

testWith(
  NEEDS,
  "chaos component: a power cut takes what was not flushed, and nothing else",
  () =>
    withComponent({ kind: "volatile" }, async (component) => {
      // Every fourth block or so is on the medium before it is flushed.
      let lostCount = 0;
      for (let value = 2; value < 32; value += 2) {
        write(component, value - 1, true);
        write(component, value, false);
        assertEquals(read(component), value);
        component.cutPower();
        await component.restorePower();
        const found = read(component);
        assert(found === value || found === value - 1, `${found} where ${value} was written`);
        if (found !== value) lostCount++;
      }
      assert(lostCount > 0, "something was lost");
    }),
);
