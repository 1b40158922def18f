import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import { ERRNO } from "../base/errno.ts";
import { AssertionFailed } from "../base/errors.ts";
import { FakeLink } from "../tests/support/core_fakes.ts";
import { RemoteCommand } from "./ports.ts";
import { RemoteSide } from "./remote_side.ts";
import type { PieceOwner } from "./transfer.ts";

class Owner implements PieceOwner {
  readonly answers: (number | "received")[] = [];
  pieceReceived(): void {
    this.answers.push("received");
  }
  pieceDone(_piece: unknown, errno: number): void {
    this.answers.push(errno);
  }
}

function ask(remote: RemoteSide, owner: PieceOwner, memsync = false): number {
  const piece = remote.prepare(RemoteCommand.write, owner);
  piece.lengthBytes = 512;
  piece.memsync = memsync;
  remote.send(piece);
  return piece.seq;
}

function connected(): { remote: RemoteSide; link: FakeLink } {
  const remote = new RemoteSide();
  const link = new FakeLink();
  remote.connect(link);
  return { remote, link };
}

Deno.test("RemoteSide brings a reply to whoever asked, once", () => {
  const { remote, link } = connected();
  const [one, two] = [new Owner(), new Owner()];
  const seqs = [ask(remote, one), ask(remote, two)];
  assertEquals(remote.pendingCount, 2);
  assert(remote.reply(link, seqs[1] ?? 0, false, 28));
  assert(remote.reply(link, seqs[0] ?? 0, false, 0));
  assertFalse(remote.reply(link, seqs[0] ?? 0, false, 0), "answered for good");
  assertFalse(remote.reply(link, 99, false, 0), "never asked");
  assertEquals([one.answers, two.answers, remote.pendingCount], [[0], [28], 0]);
});

Deno.test("RemoteSide takes two replies to a memsync write, and only to that", () => {
  const { remote, link } = connected();
  const owner = new Owner();
  const memsync = ask(remote, owner, true);
  assert(remote.reply(link, memsync, true, 0));
  assert(remote.reply(link, memsync, false, 0));
  const plain = ask(remote, owner);
  assertFalse(remote.reply(link, plain, true, 0));
  const failed = ask(remote, owner, true);
  assert(remote.reply(link, failed, true, 5), "an error is final, whatever it says");
  assertEquals(owner.answers, ["received", 0, 5]);
});

Deno.test("RemoteSide fails what was asked when the link is lost", () => {
  const { remote } = connected();
  const owner = new Owner();
  ask(remote, owner);
  ask(remote, owner);
  remote.disconnect();
  assertEquals(owner.answers, [ERRNO.ENOTCONN, ERRNO.ENOTCONN]);
  assertEquals([remote.link, remote.pendingCount], [undefined, 0]);
  assertThrows(() => ask(remote, owner), AssertionFailed);
});

Deno.test("RemoteSide has nobody for a late reply of an old link, and uses no number twice", () => {
  const { remote, link } = connected();
  const [old, fresh] = [new Owner(), new Owner()];
  const seen = new Set([ask(remote, old)]);
  const late = ask(remote, old);
  seen.add(late);
  remote.disconnect();
  const next = new FakeLink();
  remote.connect(next);
  for (let i = 0; i < 10; i++) seen.add(ask(remote, fresh));
  assertEquals(seen.size, 12);
  for (const seq of seen) assertFalse(remote.reply(link, seq, false, 0));
  assertEquals(remote.find(link, next.seq(0)), undefined);
  assertEquals(fresh.answers, []);
});
