/**
 * What is known of the connection of a resource when its worker does not know it: above all that
 * the nodes have refused each other, which stays to be seen until they are connected.
 *
 * A secondary's worker ends when it refuses a primary, and a primary's worker that was started
 * again has not been refused yet; neither is a reason to forget a split-brain.
 * @module
 */
import type { ConnectionReply } from "../protocol/control_extension.ts";
import type { RefusalReason, WorkerStatus } from "./worker_channel.ts";

interface Refusal {
  reason: RefusalReason;
  message: string | undefined;
  /** When it was first refused for this reason. */
  sinceMs: number;
}

/** Remembers the last refusal of one resource. */
export class ConnectionMemory {
  #refusal: Refusal | undefined;

  /** A handshake was turned down, again perhaps; `nowMs` is Unix time. */
  refused(reason: RefusalReason, message: string | undefined, nowMs: number): void {
    const before = this.#refusal?.reason === reason ? this.#refusal : undefined;
    this.#refusal = {
      reason,
      message: message ?? before?.message,
      sinceMs: before?.sinceMs ?? nowMs,
    };
  }

  /** The nodes are connected: whatever kept them apart is resolved. */
  connected(): void {
    this.#refusal = undefined;
  }

  /**
   * What to show.
   *
   * @param worker The status of the worker; undefined where none runs or it does not answer.
   */
  view(role: "init" | "primary" | "secondary", worker: WorkerStatus | undefined): ConnectionReply {
    const reported = worker?.connection;
    if (worker?.connected || reported?.state === "connected") {
      return { state: "connected", sinceMs: reported?.sinceMs };
    }
    const refusal = this.#refusal;
    if (reported?.state === "refused" && reported.reason !== refusal?.reason) return reported;
    if (refusal !== undefined) return { state: "refused", ...refusal };
    if (reported !== undefined) return reported;
    if (role === "init") return { state: "none" };
    return { state: role === "primary" ? "connecting" : "waiting" };
  }
}
