/**
 * What is known of the connection of a resource when its worker does not know it: above all that
 * the nodes have refused each other, which stays to be seen until they are connected.
 *
 * A secondary's worker ends when it refuses a primary, and a primary's worker that was started
 * again has not been refused yet; neither is a reason to forget a split-brain, nor is another
 * obstacle that comes up meanwhile. Such an obstacle (`other`) itself matters only for as long as
 * the role lasts, and only where the worker has nothing newer to say.
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
    if (reason === "other" && this.#isGrave) return;
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

  /** The role is another one now. */
  roleChanged(): void {
    if (!this.#isGrave) this.#refusal = undefined;
  }

  /** Of a kind that does not go away without an administrator. */
  get #isGrave(): boolean {
    return this.#refusal !== undefined && this.#refusal.reason !== "other";
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
    if (reported !== undefined && !this.#isGrave) return reported;
    if (this.#refusal !== undefined) return { state: "refused", ...this.#refusal };
    if (role === "init") return { state: "none" };
    return { state: role === "primary" ? "connecting" : "waiting" };
  }
}
