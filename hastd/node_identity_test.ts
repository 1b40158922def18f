import { assert, assertEquals } from "@std/assert";
import { isThisNode } from "../conf/node_identity.ts";
import { nodeIdentity, uuidOfMachineId } from "./node_identity.ts";

Deno.test("nodeIdentity() of this host goes by its host name", () => {
  const identity = nodeIdentity();
  assertEquals(identity.hostName, Deno.hostname());
  assert(isThisNode(identity, Deno.hostname()));
});

Deno.test("nodeIdentity() with -n is that name and nothing of the host", () => {
  assertEquals(nodeIdentity("a.b"), { hostName: "a.b", shortName: "a" });
  assert(!isThisNode(nodeIdentity("no-such-node"), Deno.hostname()));
});

Deno.test("uuidOfMachineId() writes a machine id as a UUID", () => {
  assertEquals(
    uuidOfMachineId("0123456789ABCDEF0123456789abcdef\n"),
    "01234567-89ab-cdef-0123-456789abcdef",
  );
  assertEquals(uuidOfMachineId("uninitialized\n"), undefined);
  assertEquals(uuidOfMachineId(""), undefined);
});
