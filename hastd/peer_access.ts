/**
 * Who may connect: the address of a peer must be that of a resource's `remote`. The port does not
 * count, because a primary connects from any.
 *
 * A peer over a Unix socket has no address; it may use the resources whose `remote` is a path.
 * Names are looked up when somebody connects, and remembered for a short time.
 *
 * Source: wire.md, Refusals; conf.md, remote.
 * @module
 */
import { lookup } from "node:dns/promises";
import { type Address, parseAddress, type TcpAddress } from "../conf/address.ts";
import { timedOut, within } from "./deadline.ts";
import { canonicalIp, type PeerConnection } from "./peer_connection.ts";

/** How long the answer to a name look-up is used. */
export const NAME_LIFETIME_MS = 10_000;
/** A name server that has not answered by then is taken to know nothing. */
export const NAME_TIMEOUT_MS = 5_000;

/** Asks for the addresses of a host name, of one family or of both. */
export type Resolver = (name: string, family: 4 | 6 | undefined) => Promise<string[]>;

/** Asks the system, which knows /etc/hosts and the name servers. */
export async function systemResolver(name: string, family: 4 | 6 | undefined): Promise<string[]> {
  const found = await lookup(name, { all: true, family: family ?? 0 });
  return found.map(({ address }) => canonicalIp(address));
}

interface Answer {
  addresses: Promise<string[]>;
  untilMs: number;
}

/** Decides whether a peer's address is that of a `remote`. */
export class PeerAccess {
  readonly #resolve: Resolver;
  readonly #answers = new Map<string, Answer>();

  constructor(resolve: Resolver = systemResolver) {
    this.#resolve = resolve;
  }

  /** Whether `connection` comes from `remoteAddress`, which is as written in the configuration. */
  async allows(remoteAddress: string, connection: PeerConnection): Promise<boolean> {
    if (remoteAddress === "none") return false;
    let address: Address;
    try {
      address = parseAddress(remoteAddress);
    } catch {
      return false;
    }
    if (address.kind === "unix") return connection.ip === undefined;
    if (connection.ip === undefined) return false;
    return (await this.#addressesOf(address)).includes(connection.ip);
  }

  /** The answers that are kept; as many as names in the configuration, at most. */
  #addressesOf(address: TcpAddress): Promise<string[]> {
    const { host, family } = address;
    if (host.includes(":") || /^[0-9.]+$/.test(host)) return Promise.resolve([canonicalIp(host)]);
    const key = `${family ?? ""} ${host}`;
    const nowMs = performance.now();
    const known = this.#answers.get(key);
    if (known !== undefined && known.untilMs > nowMs) return known.addresses;
    const addresses = this.#lookUp(host, family);
    this.#answers.set(key, { addresses, untilMs: nowMs + NAME_LIFETIME_MS });
    return addresses;
  }

  async #lookUp(host: string, family: 4 | 6 | undefined): Promise<string[]> {
    try {
      const found = await within(this.#resolve(host, family), NAME_TIMEOUT_MS);
      return found === timedOut ? [] : found;
    } catch {
      return []; // Unknown name: nobody has this address.
    }
  }
}
