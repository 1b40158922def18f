/**
 * A new link on its way into use: what its secondary says may differ is stored first, and no
 * request goes anywhere meanwhile.
 *
 * Source: replication.md (counters).
 * @module
 */
import type { Log } from "../base/log.ts";
import type { Activemap } from "./activemap.ts";
import type { PrimaryCounters } from "./counters.ts";
import type { LocalService } from "./local_service.ts";
import type { MapWriter } from "./map_writer.ts";
import type { PeerLink } from "./ports.ts";
import type { PeerAnswer, SyncSource } from "./sync_decision.ts";
import type { Transfer } from "./transfer.ts";

export interface JoiningEnv {
  readonly log: Log;
  readonly activemap: Activemap;
  readonly mapWriter: MapWriter;
  readonly counters: PrimaryCounters;
  readonly service: LocalService;
  /** Everything is stored: the link may be used. */
  readonly joined: (link: PeerLink, syncSource: SyncSource) => void;
  /** A request that was held may go on. */
  readonly resume: (transfer: Transfer) => void;
}

export class Joining {
  readonly #env: JoiningEnv;
  #current: { link: PeerLink; answer: PeerAnswer } | undefined = undefined;
  #held: Transfer[] = [];

  constructor(env: JoiningEnv) {
    this.#env = env;
  }

  /** Requests are to be held. */
  get busy(): boolean {
    return this.#current !== undefined;
  }

  hold(transfer: Transfer): void {
    this.#held.push(transfer);
  }

  /** Merges what the secondary says and has it stored. */
  begin(link: PeerLink, answer: PeerAnswer): void {
    this.#current = { link, answer };
    this.#merge(answer);
    if (!this.#env.service.out) this.#env.mapWriter.kick();
    this.#env.counters.meet(answer, (errno) => {
      if (errno === 0) this.tryJoin();
      else if (this.#current?.link === link) this.giveUp("the counters cannot be stored");
    });
    this.tryJoin();
  }

  #merge({ map, syncSource }: PeerAnswer): void {
    const { activemap, service } = this.#env;
    if (syncSource === "primary") activemap.merge(map, "peer");
    else {
      // Once behind, this node has noted since then which side lacks what.
      activemap.merge(map, "local", service.behind);
      service.fallBehind();
    }
  }

  /** The map or the counters have been written: joins if nothing is missing. */
  tryJoin(): void {
    const { activemap, counters, mapWriter, service } = this.#env;
    const current = this.#current;
    if (current === undefined || mapWriter.busy || !counters.settled) return;
    if (activemap.changed && !service.out) {
      mapWriter.kick();
      return;
    }
    this.#current = undefined;
    this.#env.joined(current.link, current.answer.syncSource);
    this.#releaseHeld();
  }

  /** What it takes cannot be stored. */
  giveUp(reason: string): void {
    const current = this.#current;
    if (current === undefined) return;
    this.#current = undefined;
    this.#env.log.error(`Cannot use the connection: ${reason}.`);
    current.link.close();
    this.#releaseHeld();
  }

  /** @returns whether it was this link that was joining. */
  linkLost(link: PeerLink): boolean {
    if (this.#current?.link !== link) return false;
    this.#current = undefined;
    this.#releaseHeld();
    return true;
  }

  #releaseHeld(): void {
    const held = this.#held;
    this.#held = [];
    for (const transfer of held) this.#env.resume(transfer);
  }
}
