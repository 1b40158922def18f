import { assert, assertEquals, assertFalse } from "@std/assert";
import type { ReplicationMode } from "../conf/config.ts";
import { RemotePiece, Transfer, type TransferKind } from "./transfer.ts";

function newTransfer(kind: TransferKind, mode: ReplicationMode): Transfer {
  const transfer = new Transfer({
    lockGranted: () => {},
    localDone: () => {},
    remoteProgress: () => {},
  });
  transfer.kind = kind;
  transfer.mode = mode;
  return transfer;
}

/**
 * L, l: the local part succeeds, fails; R: the data is received; D, d: the remote part is done,
 * fails. The parts that a step names were begun before.
 */
function play(transfer: Transfer, steps: string): string {
  if (/[Ll]/.test(steps)) {
    transfer.localUsed = true;
    transfer.localPending = true;
  }
  const piece = new RemotePiece();
  if (/[RDd]/.test(steps)) {
    transfer.remoteUsed = true;
    transfer.piecesPending = 1;
    transfer.piecesUnreceived = 1;
  }
  const seen = [...steps].map((step) => {
    if (step === "L") transfer.diskDone(0);
    else if (step === "l") transfer.diskDone(5);
    else if (step === "R") transfer.pieceReceived(piece);
    else transfer.pieceDone(piece, step === "D" ? 0 : 28);
    return transfer.decided ? String(transfer.result) : "-";
  });
  return seen.join(" ");
}

Deno.test("Transfer.decided follows the table of modes and answers", () => {
  // Result after each step; "-" while the user has to wait.
  const table: [TransferKind, ReplicationMode, string, string][] = [
    ["write", "fullsync", "LRD", "- - 0"],
    ["write", "fullsync", "RDL", "- - 0"],
    ["write", "fullsync", "LRd", "- - 0"],
    ["write", "fullsync", "lRD", "- - 0"],
    ["write", "fullsync", "lRd", "- - 5"],
    ["write", "fullsync", "dl", "- 5"],
    ["write", "memsync", "LRD", "- 0 0"],
    ["write", "memsync", "RLD", "- 0 0"],
    ["write", "memsync", "DL", "- 0"],
    ["write", "memsync", "Ld", "- 0"],
    ["write", "memsync", "RlD", "- - 0"],
    ["write", "memsync", "lRd", "- - 5"],
    ["write", "async", "LRD", "0 0 0"],
    ["write", "async", "RDL", "- - 0"],
    ["write", "async", "lRD", "- - 0"],
    ["write", "async", "ld", "- 5"],
    ["zero", "memsync", "LRD", "- 0 0"],
    ["delete", "memsync", "LRD", "- - 0"],
    ["delete", "fullsync", "LD", "- 0"],
    ["flush", "memsync", "LRD", "- - 0"],
    ["flush", "fullsync", "lD", "- 0"],
    ["flush", "async", "LD", "0 0"],
    ["read", "fullsync", "L", "0"],
    ["read", "fullsync", "l", "5"],
    ["read", "fullsync", "D", "0"],
    ["read", "fullsync", "d", "28"],
    ["write", "fullsync", "L", "0"],
    ["write", "memsync", "l", "5"],
    ["write", "fullsync", "D", "0"],
  ];
  for (const [kind, mode, steps, expected] of table) {
    assertEquals(play(newTransfer(kind, mode), steps), expected, `${mode} ${kind} ${steps}`);
  }
});

Deno.test("Transfer waits in memsync for the data of every piece, sent or not", () => {
  const transfer = newTransfer("write", "memsync");
  transfer.localUsed = true;
  transfer.remoteUsed = true;
  transfer.piecesPending = 2;
  transfer.piecesUnreceived = 2;
  transfer.unsentBytes = 512;
  const [first, second, third] = [new RemotePiece(), new RemotePiece(), new RemotePiece()];
  transfer.pieceReceived(first);
  transfer.pieceReceived(first); // Twice is once.
  transfer.pieceDone(second, 0);
  assertFalse(transfer.decided, "a piece is not sent yet");
  transfer.unsentBytes = 0;
  transfer.piecesPending++;
  transfer.piecesUnreceived++;
  assertFalse(transfer.decided);
  transfer.pieceReceived(third);
  assert(transfer.decided);
  assertFalse(transfer.over);
  transfer.pieceDone(first, 0);
  transfer.pieceDone(third, 0);
  assert(transfer.over);
});

Deno.test("Transfer.reset() leaves nothing behind", () => {
  const used = newTransfer("write", "fullsync");
  play(used, "lRd");
  used.acknowledged = true;
  used.awaitsCounters = true;
  used.backlogBytes = 512;
  used.reset();
  assertEquals(play(Object.assign(used, { kind: "write", mode: "async" }), "LRD"), "0 0 0");
  assertEquals([used.acknowledged, used.awaitsCounters, used.backlogBytes], [false, false, 0]);
});
