/** The faults of the network are what they are called. */
import { assertEquals } from "@std/assert";
import { testWith } from "../support/needs.ts";
import { run, runOk } from "../support/process.ts";
import { waitFor } from "../support/wait.ts";
import { Network, otherSide, type Side } from "./network.ts";

/** Datagrams that have arrived on a node, at a port where nobody listens. */
async function arrivedCount(network: Network, side: Side): Promise<number> {
  const [program = "", ...rest] = network.launcher(side);
  const text = await runOk(program, ...rest, "cat", "/proc/self/net/snmp");
  const [names = [], values = []] = [...text.matchAll(/^Udp: (.*)$/gm)].map((match) => {
    return (match[1] ?? "").split(" ");
  });
  return Number(values[names.indexOf("NoPorts")]);
}

async function sendDatagram(network: Network, from: Side): Promise<void> {
  const [program = "", ...rest] = network.launcher(from);
  const to = network.addresses[otherSide(from)];
  await run(program, ...rest, "bash", "-c", `echo >/dev/udp/${to}/9`);
}

/** Sends until one arrives, which the first ones may not while addresses are being resolved. */
async function waitPasses(network: Network, from: Side): Promise<void> {
  const before = await arrivedCount(network, otherSide(from));
  await waitFor(`node ${from} reaches the other`, async () => {
    await sendDatagram(network, from);
    return await arrivedCount(network, otherSide(from)) > before;
  });
}

/** Sends some; none may arrive. */
async function assertCut(network: Network, from: Side): Promise<void> {
  const before = await arrivedCount(network, otherSide(from));
  for (let i = 0; i < 5; i++) await sendDatagram(network, from);
  assertEquals(await arrivedCount(network, otherSide(from)), before, `node ${from} is cut off`);
}

const NEEDS = ["root", "linux", "program ip", "program nsenter", "program bash"] as const;

testWith([...NEEDS], "chaos network: the cable cuts both directions", async () => {
  await using network = await Network.create();
  for (const side of [0, 1] as const) {
    await waitPasses(network, 0);
    await waitPasses(network, 1);
    await network.setCable(side, "down");
    await assertCut(network, 0);
    await assertCut(network, 1);
    await network.heal();
  }
  await waitPasses(network, 0);
});

testWith([...NEEDS], "chaos network: one direction is cut, the other is not", async () => {
  await using network = await Network.create();
  for (const side of [0, 1] as const) {
    await waitPasses(network, side);
    await waitPasses(network, otherSide(side));
    await network.dropFrom(side);
    await assertCut(network, side);
    await waitPasses(network, otherSide(side));
    await network.heal();
    await waitPasses(network, side);
  }
});

testWith([...NEEDS], "chaos network: nothing is left behind", async () => {
  const before = (await run("ip", "netns", "list")).stdout;
  const network = await Network.create();
  await network[Symbol.asyncDispose]();
  assertEquals((await run("ip", "netns", "list")).stdout, before);
});
