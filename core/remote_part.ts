/**
 * The remote part of a transfer: how it is cut for the peer, and how long the user waits for it.
 *
 * Source: replication.md (where a request goes), wire.md (largest request).
 * @module
 */
import { invariant } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ReplicationMode } from "../conf/config.ts";
import type { LocalService } from "./local_service.ts";
import { type PeerLink, RemoteCommand } from "./ports.ts";
import type { RemoteSide } from "./remote_side.ts";
import type { Transfer } from "./transfer.ts";

/** Pieces of one transfer that are on their way to the peer at the same time. */
const PIECES_IN_FLIGHT_MAX = 256;
/** Bytes that async may leave unanswered by the peer; beyond, a write waits as in fullsync. */
const BACKLOG_BYTES_MAX = 64 * 1024 * 1024;

export interface RemotePartsEnv {
  readonly log: Log;
  readonly remote: RemoteSide;
  readonly service: LocalService;
  readonly mode: () => ReplicationMode;
}

export class RemoteParts {
  readonly #env: RemotePartsEnv;
  #backlogBytes = 0;
  #warned = false;

  constructor(env: RemotePartsEnv) {
    this.#env = env;
  }

  /** Sends all of a transfer that may be on its way at once; there is a link. */
  send(transfer: Transfer, command: RemoteCommand): void {
    const { link } = this.#env.remote;
    invariant(link !== undefined, "a remote part needs a link");
    transfer.link = link;
    transfer.remoteUsed = true;
    transfer.mode = this.#modeFor(transfer, link);
    transfer.unsentBytes = transfer.lengthBytes;
    if (transfer.changesData && transfer.backlogBytes === 0) {
      transfer.backlogBytes = transfer.lengthBytes;
      this.#backlogBytes += transfer.lengthBytes;
    }
    const cut = command === RemoteCommand.read || command === RemoteCommand.write;
    if (cut) this.#sendPieces(transfer, command, link);
    else this.#sendPiece(transfer, command, transfer.lengthBytes);
  }

  /** An answer has come: sends what could not be sent before, or gives it up. */
  proceed(transfer: Transfer): void {
    if (transfer.unsentBytes === 0) return;
    const { link } = transfer;
    if (link === undefined || link !== this.#env.remote.link || transfer.remoteErrno !== 0) {
      transfer.unsentBytes = 0;
      return;
    }
    const reading = transfer.kind === "read";
    this.#sendPieces(transfer, reading ? RemoteCommand.read : RemoteCommand.write, link);
  }

  /** The transfer is over on both nodes. */
  forget(transfer: Transfer): void {
    this.#backlogBytes -= transfer.backlogBytes;
  }

  #modeFor(transfer: Transfer, link: PeerLink): ReplicationMode {
    const mode = this.#env.mode();
    // What this node holds does not count while the other one is ahead.
    if (this.#env.service.behind) return "fullsync";
    if (mode === "memsync" && link.protocolVersion < 2) {
      this.#warnOfFallback();
      return "fullsync";
    }
    if (mode !== "async" || transfer.kind === "flush") return mode;
    return this.#backlogBytes >= BACKLOG_BYTES_MAX ? "fullsync" : mode;
  }

  #warnOfFallback(): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#env.log.warning(
      "The 'memsync' replication mode is not supported by the remote node, " +
        "falling back to 'fullsync' mode.",
    );
  }

  #sendPieces(transfer: Transfer, command: RemoteCommand, link: PeerLink): void {
    while (transfer.unsentBytes > 0 && transfer.piecesPending < PIECES_IN_FLIGHT_MAX) {
      this.#sendPiece(transfer, command, Math.min(transfer.unsentBytes, link.requestBytesMax));
    }
  }

  #sendPiece(transfer: Transfer, command: RemoteCommand, lengthBytes: number): void {
    const startBytes = transfer.lengthBytes - transfer.unsentBytes;
    transfer.unsentBytes -= lengthBytes;
    transfer.piecesPending++;
    transfer.piecesUnreceived++;
    const piece = this.#env.remote.prepare(command, transfer);
    piece.offsetBytes = transfer.dataOffsetBytes + startBytes;
    piece.lengthBytes = lengthBytes;
    piece.memsync = command === RemoteCommand.write && transfer.mode === "memsync";
    piece.buffer = transfer.buffer;
    piece.bufferOffsetBytes = transfer.bufferOffsetBytes + startBytes;
    piece.zeros = transfer.kind === "zero" || transfer.kind === "delete";
    this.#env.remote.send(piece);
  }
}
