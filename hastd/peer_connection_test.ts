import { assertEquals } from "@std/assert";
import { addressText, canonicalIp } from "./peer_connection.ts";

Deno.test("canonicalIp() has one spelling for each address", () => {
  const spellings = [
    ["10.0.0.1", "10.0.0.1"],
    ["::FFFF:10.0.0.1", "10.0.0.1"],
    ["::ffff:a00:1", "10.0.0.1"],
    ["::ffff:255.255.255.255", "255.255.255.255"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8:0:0::1", "2001:db8::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["::", "::"],
  ];
  for (const [given, canonical] of spellings) assertEquals(canonicalIp(given ?? ""), canonical);
});

Deno.test("addressText() is what hastd's messages say", () => {
  const texts: [Deno.Addr, string][] = [
    [{ transport: "tcp", hostname: "127.0.0.2", port: 8457 }, "tcp://127.0.0.2:8457"],
    [{ transport: "tcp", hostname: "::1", port: 8457 }, "tcp://[::1]:8457"],
    [{ transport: "tcp", hostname: "::ffff:127.0.0.2", port: 1 }, "tcp://127.0.0.2:1"],
    [{ transport: "unix", path: "/var/run/x" }, "uds:///var/run/x"],
  ];
  for (const [address, text] of texts) assertEquals(addressText(address), text);
});
