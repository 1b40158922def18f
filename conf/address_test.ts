import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { ConfigError } from "../base/errors.ts";
import { type Address, addressProblem, formatAddress, parseAddress } from "./address.ts";

const tcp = (family: 4 | 6 | undefined, host: string, port: number): Address => ({
  kind: "tcp",
  family,
  host,
  port,
});

const VALID: [text: string, address: Address, formatted: string][] = [
  ["tcp4://0.0.0.0:8457", tcp(4, "0.0.0.0", 8457), "tcp4://0.0.0.0:8457"],
  ["tcp6://[::]:8457", tcp(6, "::", 8457), "tcp6://[::]:8457"],
  ["TCP4://10.0.0.1", tcp(4, "10.0.0.1", 8457), "tcp4://10.0.0.1:8457"],
  ["tcp://node.example.org:1", tcp(undefined, "node.example.org", 1), "tcp://node.example.org:1"],
  ["tcp6://node", tcp(6, "node", 8457), "tcp6://node:8457"],
  ["node_b.lan.", tcp(undefined, "node_b.lan.", 8457), "tcp://node_b.lan.:8457"],
  ["3com", tcp(undefined, "3com", 8457), "tcp://3com:8457"],
  ["10.0.0.1:65535", tcp(4, "10.0.0.1", 65535), "tcp4://10.0.0.1:65535"],
  ["fe80::1", tcp(6, "fe80::1", 8457), "tcp6://[fe80::1]:8457"],
  ["::ffff:10.0.0.1", tcp(6, "::ffff:10.0.0.1", 8457), "tcp6://[::ffff:10.0.0.1]:8457"],
  ["[fe80::1]", tcp(6, "fe80::1", 8457), "tcp6://[fe80::1]:8457"],
  ["[fe80::1]:9", tcp(6, "fe80::1", 9), "tcp6://[fe80::1]:9"],
  ["/var/run/x", { kind: "unix", path: "/var/run/x" }, "uds:///var/run/x"],
  ["uds:///x", { kind: "unix", path: "/x" }, "uds:///x"],
  ["UNIX:///x:y", { kind: "unix", path: "/x:y" }, "uds:///x:y"],
];

for (const [text, address, formatted] of VALID) {
  Deno.test(`parseAddress() reads ${text}, and formatAddress() writes ${formatted}`, () => {
    assertEquals(parseAddress(text), address);
    assertEquals(formatAddress(address), formatted);
    assertEquals(parseAddress(formatted), address);
  });
}

const INVALID: [text: string, problem: string][] = [
  ["", "the host is missing"],
  [":8457", "the host is missing"],
  ["tcp4://", "the host is missing"],
  ["tcp4://:1", "the host is missing"],
  ["[]:1", "the host is missing"],
  ["a:", "the port must be 1 to 65535, not ''"],
  ["a:0", "the port must be"],
  ["a:65536", "the port must be"],
  ["a:-1", "the port must be"],
  ["a:1e3", "the port must be"],
  ["[::1]:http", "the port must be"],
  ["10.0.0.256", "not an IPv4 address"],
  ["10.1", "not an IPv4 address"],
  ["1.2.3.4.5", "not an IPv4 address"],
  ["tcp4://::1", "::1 is not an IPv4 address"],
  ["tcp6://10.0.0.1", "10.0.0.1 is not an IPv6 address"],
  ["fe80::1::2", "not an IPv6 address"],
  ["1:2:3:4:5:6:7:8:9", "not an IPv6 address"],
  ["[10.0.0.1]", "not an IPv6 address"],
  ["[::1", "not an IPv6 address"],
  ["::1]", "not an IPv6 address"],
  ["[::1]x", "not an IPv6 address"],
  ["[::1]@evil", "not an IPv6 address"],
  ["run/ctl", "not a host name"],
  ["a..b", "not a host name"],
  ["a b", "not a host name"],
  ["x".repeat(256), "at most 255 characters"],
  ["udp://1.2.3.4", "unknown kind of address udp://"],
  ["tcp5://1.2.3.4", "unknown kind of address"],
  ["uds://x", "must begin with /"],
  ["unix://", "must begin with /"],
  ["/x\0", "NUL"],
];

for (const [text, problem] of INVALID) {
  Deno.test(`parseAddress() refuses ${JSON.stringify(text.slice(0, 20))}: ${problem}`, () => {
    const { message } = assertThrows(() => parseAddress(text), ConfigError);
    assertStringIncludes(message, problem);
    assertStringIncludes(addressProblem(text, "both") ?? "", problem);
  });
}

Deno.test("parseAddress() uses the default port that it is given, also 0 for any", () => {
  assertEquals(parseAddress("10.0.0.1", 0), tcp(4, "10.0.0.1", 0));
  assertEquals(formatAddress(tcp(4, "10.0.0.1", 0)), "tcp4://10.0.0.1");
  assertEquals(parseAddress("10.0.0.1:7", 0), tcp(4, "10.0.0.1", 7));
});

Deno.test("addressProblem() refuses the other kind", () => {
  assertEquals(addressProblem("/x", "unix"), undefined);
  assertEquals(addressProblem("a", "tcp"), undefined);
  assertStringIncludes(addressProblem("/x", "tcp") ?? "", "found a path");
  assertStringIncludes(addressProblem("a", "unix") ?? "", "found a TCP address");
});
