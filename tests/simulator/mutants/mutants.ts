/**
 * Planted bugs: each is one that somebody could write, and that must not get past the simulator.
 * @module
 */

export interface Mutant {
  /** What is wrong with it. */
  readonly name: string;
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly from: string;
  readonly to: string;
}

/** The weaknesses of the original that concern `core/`, by their number in the specification. */
const ORIGINAL: Mutant[] = [
  {
    name: "weakness 1: what the peer has failed is not marked",
    file: "core/settlement.ts",
    from: "this.lacking(transfer, side);",
    to: "",
  },
  {
    name: "weakness 1: what was in flight when the link broke is not marked",
    file: "core/settlement.ts",
    from: 'if (transfer.remoteUsed && transfer.remoteErrno !== 0) return "peer";',
    to:
      'if (transfer.remoteUsed && transfer.remoteErrno !== 0 && transfer.remoteErrno !== ERRNO.ENOTCONN) return "peer";',
  },
  {
    name: "weakness 2: after a local write error the local component is still read",
    file: "core/settlement.ts",
    from:
      "return localFailed && transfer.remoteSucceeded ? this.#env.service.lackingSide : undefined;",
    to: "return undefined;",
  },
  {
    name: "weakness 2: what a component out of service misses is not noted",
    file: "core/request_path.ts",
    from: 'else this.#settlement.lacking(transfer, "local");',
    to: "",
  },
  {
    name: "weakness 3: a delete does not mark its extents",
    file: "core/request_path.ts",
    from: "if (!transfer.begun) {",
    to: 'if (!transfer.begun && transfer.kind !== "delete") {',
  },
  {
    name: "weakness 3: a delete while alone is not noted for the peer",
    file: "core/request_path.ts",
    from: 'activemap.markRangeStale(dataOffsetBytes, lengthBytes, "peer");',
    to:
      'if (transfer.kind !== "delete") activemap.markRangeStale(dataOffsetBytes, lengthBytes, "peer");',
  },
  {
    name: "weakness 4: a flush that nobody has done is reported done",
    file: "core/settlement.ts",
    from: "user.errno = transfer.result === ERRNO.ENOTCONN ? ERRNO.EIO : transfer.result;",
    to:
      'user.errno = transfer.kind === "flush" ? 0 : transfer.result === ERRNO.ENOTCONN ? ERRNO.EIO : transfer.result;',
  },
  {
    name: "weakness 6: an extent of which a block failed counts as synchronised",
    file: "core/synchroniser.ts",
    from: "open.failed = true;\n        if (current)",
    to: "if (current)",
  },
];

const BEFORE_DATA: Mutant[] = [
  {
    name: "data is written before its extent is dirty on disk",
    file: "core/request_path.ts",
    from: "&& activemap.isDurable(dataOffsetBytes, lengthBytes)) {",
    to: ") {",
  },
  {
    name: "a bit that is being cleared counts as on disk",
    file: "core/activemap.ts",
    from: "this.#durable[at] = (this.#durable[at] ?? 0) & wanted;",
    to: "",
  },
  {
    name: "a failed write of the map counts",
    file: "core/map_writer.ts",
    from: "if (errno === 0) {\n      this.writeCount++;",
    to: "if (errno >= 0) {\n      this.writeCount++;",
  },
  {
    name: "a failed write of the map is not repeated",
    file: "core/activemap.ts",
    from: "for (const sector of sectors) this.#changedSectors.add(sector);",
    to: "",
  },
  {
    name: "metaflush does not flush",
    file: "core/map_writer.ts",
    from: "if (this.#errno !== 0 || !this.#env.metaflush()) {",
    to: "if (this.#errno !== 0 || this.#env.metaflush()) {",
  },
  {
    name: "metadata is not flushed",
    file: "core/metadata_store.ts",
    from: "if (errno !== 0) this.#finish(errno);",
    to: "if (errno !== -1) this.#finish(errno);",
  },
  {
    name: "a failed write of the metadata is not repeated",
    file: "core/metadata_store.ts",
    from: "else if (errno !== 0) this.#unwritten = true;",
    to: "",
  },
  {
    name: "the map found on disk is forgotten",
    file: "core/activemap.ts",
    from: "this.#dirtyCount++;\n      this.#stale.peer.add(extent);",
    to: "this.#dirtyCount++;",
  },
  {
    name: "a write alone is not noted for the peer",
    file: "core/request_path.ts",
    from: 'activemap.markRangeStale(dataOffsetBytes, lengthBytes, "peer");',
    to: "",
  },
  {
    name: "localcnt is not raised by a write alone",
    file: "core/request_path.ts",
    from: "counters.raise();",
    to: "",
  },
  {
    name: "localcnt is not raised when the peer fails",
    file: "core/settlement.ts",
    from:
      'if (side === "peer" && localHasIt && transfer.changesData && !service.behind) counters.raise();',
    to: "",
  },
  {
    name: "nobody waits for the raised localcnt",
    file: "core/counters.ts",
    from: "this.#raising = true;",
    to: "",
  },
  {
    name: "a write while behind and alone is taken",
    file: "core/request_path.ts",
    from: "if (alone && service.behind) {",
    to: "if (alone && service.behind && transfer.lengthBytes === 0) {",
  },
];

const ACKNOWLEDGING: Mutant[] = [
  {
    name: "the user is told before the raised localcnt is on disk",
    file: "core/settlement.ts",
    from: "if (counters.raising && transfer.changesData && transfer.peerLacksIt) {",
    to: "if (counters.raising && transfer.kind === 'flush') {",
  },
  {
    name: "fullsync does not wait for the peer",
    file: "core/transfer.ts",
    from: 'this.mode === "async") return true;',
    to: 'this.mode === "async" || this.mode === "fullsync") return true;',
  },
  {
    name: "memsync does not wait for the peer to have the data",
    file: "core/transfer.ts",
    from: "return onReceipt ? this.piecesUnreceived === 0 && this.unsentBytes === 0",
    to: "return onReceipt ? true",
  },
  {
    name: "memsync forgets what is still to be sent",
    file: "core/transfer.ts",
    from: "this.piecesUnreceived === 0 && this.unsentBytes === 0",
    to: "this.piecesUnreceived < this.piecesPending",
  },
  {
    name: "success of the peer alone is success, though nobody would know",
    file: "core/settlement.ts",
    from: "transfer.remoteErrno = transfer.localErrno;",
    to: "",
  },
  {
    name: "nobody waits for the claim",
    file: "core/settlement.ts",
    from: 'if (service.claim === "asked") {',
    to: 'if (service.claim === "asked" && transfer.lengthBytes < 0) {',
  },
  {
    name: "while behind, success here is success",
    file: "core/settlement.ts",
    from: "if (service.behind && transfer.peerLacksIt && transfer.localErrno === 0) {",
    to: "if (service.behind && transfer.peerLacksIt && transfer.localErrno < 0) {",
  },
  {
    name: "while behind, the mode of the configuration holds",
    file: "core/remote_part.ts",
    from: 'if (this.#env.service.behind) return "fullsync";',
    to: "",
  },
  {
    name: "FUA does not flush",
    file: "core/settlement.ts",
    from: "else if (succeeded && user.fua) this.#env.flushFor(user);",
    to: "",
  },
  {
    name: "a large zeroing ends after its first piece",
    file: "core/remote_part.ts",
    from: "while (transfer.unsentBytes > 0 && transfer.piecesPending < PIECES_IN_FLIGHT_MAX) {",
    to: "if (transfer.unsentBytes > 0 && transfer.piecesPending < PIECES_IN_FLIGHT_MAX) {",
  },
  {
    name: "the buffer of a write is given back when the user is told",
    file: "core/settlement.ts",
    from: "if (user.command === UserCommand.write) user.buffer = undefined;",
    to:
      "if (user.command === UserCommand.write && user.buffer) { this.#env.buffers.give(user.buffer); transfer.buffer = undefined; user.buffer = undefined; }",
  },
  {
    name: "the buffer of a write is never given back",
    file: "core/settlement.ts",
    from:
      'if (transfer.kind === "write" && transfer.buffer !== undefined) buffers.give(transfer.buffer);',
    to: "",
  },
];

const CLEANING: Mutant[] = [
  {
    name: "an extent is clean when both nodes have answered, flushed or not",
    file: "core/activemap.ts",
    from:
      "if (this.#unflushed.has(extent) || this.#flushing?.has(extent)) this.#cooling.add(extent);",
    to: "if (extent < 0) this.#cooling.add(extent);",
  },
  {
    name: "a failed flush cleans",
    file: "core/activemap.ts",
    from: "if (!succeeded) {\n      for",
    to: "if (!succeeded && flushed.size < 0) {\n      for",
  },
  {
    name: "a flush cleans what was written after it began",
    file: "core/activemap.ts",
    from: "if (!this.#unflushed.has(extent)) this.#clean(extent);",
    to: "this.#clean(extent);",
  },
  {
    name: "a flush of one node cleans",
    file: "core/flusher.ts",
    from: "const flushed = flush.localSucceeded && flush.remoteSucceeded;",
    to: "const flushed = flush.localSucceeded;",
  },
  {
    name: "a lost link leaves what the peer had not flushed",
    file: "core/primary.ts",
    from: 'this.#activemap.markUnflushedStale("peer");',
    to: "",
  },
  {
    name: "a lost link leaves what was being flushed",
    file: "core/activemap.ts",
    from: "for (const set of [this.#unflushed, this.#flushing ?? []]) {",
    to: "for (const set of [this.#unflushed]) {",
  },
  {
    name: "a synchronisation counts before the flush",
    file: "core/primary.ts",
    from: "copied: (bytes) => bytes === 0 ? this.#inSync() : this.#flusher.flushFinally(),",
    to: "copied: () => this.#inSync(),",
  },
  {
    name: "a failed final flush counts",
    file: "core/primary.ts",
    from: "if (succeeded && this.#activemap.staleCount === 0) this.#inSync();",
    to: "if (this.#activemap.staleCount === 0) this.#inSync();",
  },
  {
    name: "something stale does not keep the nodes from being in sync",
    file: "core/primary.ts",
    from: "if (succeeded && this.#activemap.staleCount === 0) this.#inSync();",
    to: "if (succeeded) this.#inSync();",
  },
  {
    name: "an extent with a request pending is cleaned",
    file: "core/activemap.ts",
    from: "if (pending === 1) this.#update(extent);",
    to: "this.#pending[extent] = 0; this.#update(extent);",
  },
];

const CONNECTING: Mutant[] = [
  {
    name: "a link is used before the map of its secondary is stored",
    file: "core/joining.ts",
    from: "if (current === undefined || mapWriter.busy || !counters.settled) return;",
    to: "if (current === undefined || !counters.settled) return;",
  },
  {
    name: "requests are not held while a link joins",
    file: "core/request_path.ts",
    from: "if (this.#env.joining.busy) this.#env.joining.hold(transfer);\n    else if",
    to: "if",
  },
  {
    name: "counters that have changed since the handshake began are overlooked",
    file: "core/counters.ts",
    from: "if (!this.settled || now.localcnt !== hello.localcnt || now.virgin !== hello.virgin) {",
    to: "if (!this.settled && now.localcnt !== hello.localcnt && now.virgin !== hello.virgin) {",
  },
  {
    name: "the map of the secondary is not merged",
    file: "core/joining.ts",
    from: 'if (syncSource === "primary") activemap.merge(map, "peer");',
    to: 'if (syncSource === "primary") activemap.merge(undefined, "peer");',
  },
  {
    name: "the map of a secondary that is ahead is not merged",
    file: "core/joining.ts",
    from: 'activemap.merge(map, "local", service.behind);',
    to: 'activemap.merge(undefined, "local", service.behind);',
  },
  {
    name: "what this node had marked is not turned when it is behind",
    file: "core/joining.ts",
    from: 'activemap.merge(map, "local", service.behind);',
    to: 'activemap.merge(map, "local", true);',
  },
  {
    name: "a primary that is behind does not know it",
    file: "core/joining.ts",
    from: "service.fallBehind();",
    to: "",
  },
  {
    name: "the hello is sent before the resuid is on disk",
    file: "core/counters.ts",
    from: "this.#update({ resuid: this.#resuid() }, answer);",
    to: "this.#update({ resuid: this.#resuid() }, () => {}); answer(0);",
  },
  {
    name: "a primary with data calls itself virgin",
    file: "core/counters.ts",
    from: "virgin: this.#drewResuid && untouched",
    to: "virgin: localcnt === 0n || untouched",
  },
  {
    name: "a map with marks is taken for a blank component",
    file: "core/counters.ts",
    from: "const untouched = this.#env.blank && ",
    to: "const untouched = ",
  },
  {
    name: "a primary of a virgin keeps localcnt 0",
    file: "core/counters.ts",
    from: "localcnt: localcnt || 1n, remotecnt: answer.localcnt",
    to: "localcnt, remotecnt: answer.localcnt",
  },
  {
    name: "a primary of a virgin keeps what it knew of the node before it",
    file: "core/counters.ts",
    from: "localcnt: localcnt || 1n, remotecnt: answer.localcnt",
    to: "localcnt: localcnt || 1n",
  },
  {
    name: "a late reply of an old link answers a request of the new one",
    file: "core/remote_side.ts",
    from: "return link === this.#link ? this.#pieces.get(seq) : undefined;",
    to:
      "return this.#pieces.get(seq) ?? (link === this.#link ? undefined : [...this.#pieces.values()][0]);",
  },
  {
    name: "what is asked of a lost link is forgotten",
    file: "core/remote_side.ts",
    from: "for (const piece of orphans) this.#finish(piece, ERRNO.ENOTCONN);",
    to: "orphans.length = 0;",
  },
  {
    name: "a request that waits for the counters twice is forgotten",
    file: "core/settlement.ts",
    from: "transfer.awaitsCounters = false;",
    to: "",
  },
  {
    name: "a failure is marked again and again",
    file: "core/settlement.ts",
    from: "if (side === undefined || side === transfer.markedSide) return;",
    to: "if (side === undefined) return;",
  },
  {
    name: "counters that were found are taken to be on disk",
    file: "core/counters.ts",
    from: "if (known && this.#env.store.proven) {",
    to: "if (known) {",
  },
  {
    name: "marks that were found are taken to be on disk",
    file: "core/activemap.ts",
    from: "this.#unproven.add(extent);",
    to: "markExtent(this.#durable, extent);",
  },
  {
    name: "counters are made equal in memory alone",
    file: "core/counters.ts",
    from: "this.#update({ localcnt, remotecnt }, done);",
    to: "done(0);",
  },
  {
    name: "after a synchronisation localcnt is never raised again",
    file: "core/counters.ts",
    from: "inSync(done: (errno: number) => void): void {\n    this.#raised = false;",
    to: "inSync(done: (errno: number) => void): void {",
  },
];

const DECIDING: Mutant[] = [
  {
    name: "a secondary that is ahead is taken for stale",
    file: "core/sync_decision.ts",
    from: 'if (secondaryAhead && primaryAsKnown) return accept("secondary", "own");',
    to: 'if (secondaryAhead && primaryAsKnown) return accept("primary", "own");',
  },
  {
    name: "split-brain is overlooked",
    file: "core/sync_decision.ts",
    from:
      'if (secondaryAhead && primaryAhead) return { kind: "split-brain", message: SPLIT_BRAIN_MESSAGE };',
    to: "",
  },
  {
    name: "a stale secondary is a split-brain",
    file: "core/sync_decision.ts",
    from: "if (secondaryAsKnown && (primaryAsKnown || primaryAhead))",
    to:
      "if (secondaryAsKnown && primaryAhead) return { kind: 'split-brain', message: '' };\n  if (secondaryAsKnown)",
  },
  {
    name: "a virgin secondary sends no map",
    file: "core/sync_decision.ts",
    from: 'map: primary.virgin ? "none" : "all",',
    to: 'map: "none",',
  },
  {
    name: "resuids are not compared",
    file: "core/sync_decision.ts",
    from: "if (secondary.resuid !== primary.resuid) {",
    to: "if (secondary.resuid < 0n) {",
  },
];

const SECONDARY: Mutant[] = [
  {
    name: "overlapping requests race on the secondary",
    file: "core/secondary.ts",
    from: "if (this.#lock.acquire(request, request.dataOffsetBytes, request.lengthBytes)) {",
    to:
      "if (this.#lock.acquire(request, request.dataOffsetBytes + 2 ** 40 * this.#inFlightCount, request.lengthBytes)) {",
  },
  {
    name: "a flush of the secondary overtakes what came before it",
    file: "core/secondary.ts",
    from: "if (first?.flush === undefined || first.pendingCount > 0) return;",
    to: "if (first?.flush === undefined) return;",
  },
  {
    name: "the secondary answers for good when it has received the data",
    file: "core/secondary.ts",
    from: "this.#env.replies.reply(request, true, 0);",
    to: "this.#env.replies.reply(request, false, 0);",
  },
  {
    name: "a delete that the secondary cannot do does nothing",
    file: "core/secondary.ts",
    from: "request.op = DiskOp.zero;\n      this.#env.disk.submit(request);\n      return;",
    to: "errno = 0;",
  },
  {
    name: "a delete that the primary cannot do does nothing",
    file: "core/request_path.ts",
    from: "transfer.op = DiskOp.zero;",
    to: "transfer.op = DiskOp.read;",
  },
  {
    name: "an error of the secondary is success",
    file: "core/secondary.ts",
    from: "this.#env.replies.reply(request, false, errno);",
    to: "this.#env.replies.reply(request, false, 0);",
  },
  {
    name: "the secondary clears its map when it answers",
    file: "core/secondary_join.ts",
    from: "if (!decision.virgin) this.#update({}, answer);",
    to: "if (!decision.virgin) this.#fill(NONE, answer);",
  },
  {
    name: "a virgin secondary takes over before the primary knows that it is empty",
    file: "core/secondary_join.ts",
    from: 'else if (decision.map === "none") this.#takeOver(hello.resuid, answer);',
    to: "else if (decision.virgin) this.#takeOver(hello.resuid, answer);",
  },
  {
    name: "a virgin secondary does not note that it is incomplete",
    file: "core/secondary_join.ts",
    from: "this.#newResuid = hello.resuid;\n      this.#fill(ALL, answer);",
    to: "this.#newResuid = hello.resuid;\n      answer(0);",
  },
  {
    name: "a virgin secondary never takes over",
    file: "core/secondary_join.ts",
    from: "if (this.#newResuid !== undefined) this.#takeOver(this.#newResuid, cleared);\n    else ",
    to: "",
  },
  {
    name: "the claim raises localcnt before the map is marked",
    file: "core/secondary_join.ts",
    from: "this.#fill(ALL, (errno) => {",
    to: "this.#fill(NONE, (errno) => {",
  },
  {
    name: "the claim does not raise localcnt",
    file: "core/secondary_join.ts",
    from: "this.#update({ localcnt }, done);",
    to: "done(0);",
  },
  {
    name: "the claim is answered before it is on disk",
    file: "core/secondary_join.ts",
    from: "this.#update({ localcnt }, done);",
    to: "this.#update({ localcnt }, () => {}); done(0);",
  },
];

const SERVING: Mutant[] = [
  {
    name: "what the local component lacks is read from it",
    file: "core/request_path.ts",
    from: "if (stale) this.#readRemotely(transfer, ERRNO.EIO);",
    to: "if (stale && lengthBytes < 0) this.#readRemotely(transfer, ERRNO.EIO);",
  },
  {
    name: "what the peer lacks is read from it",
    file: "core/request_path.ts",
    from: "if (this.#env.remote.link !== undefined && !peerStale) {",
    to: "if (this.#env.remote.link !== undefined) {",
  },
  {
    name: "a peer that lacks data serves alone",
    file: "core/local_service.ts",
    from: 'this.#env.counters.peerKnowsUs &&\n      !this.#env.activemap.anyStale("peer");',
    to: "this.#env.counters.peerKnowsUs;",
  },
  {
    name: "a peer serves alone that does not know of our own writes",
    file: "core/local_service.ts",
    from: "this.#env.counters.peerKnowsUs &&",
    to: "this.#env.counters.settled &&",
  },
  {
    name: "a claim whose answer was lost is taken for refused",
    file: "core/local_service.ts",
    from: "else if (errno !== ERRNO.ENOTCONN) {",
    to: "else {",
  },
  {
    name: "a claim that was refused is taken for done",
    file: "core/local_service.ts",
    from: 'this.#claim = errno === 0 ? "done" : "none";',
    to: 'this.#claim = "done";',
  },
  {
    name: "the claim of the peer is not counted",
    file: "core/local_service.ts",
    from: "if (errno === 0) this.#env.counters.peerClaimed();",
    to: "if (errno === 0) this.#env.counters.noteWrite();",
  },
  {
    name: "overlapping writes race on the primary",
    file: "core/request_path.ts",
    from: "this.#env.lock.acquire(transfer, dataOffsetBytes, lengthBytes)",
    to:
      "this.#env.lock.acquire(transfer, dataOffsetBytes + 2 ** 40 * this.#inFlightCount, lengthBytes)",
  },
  {
    name: "a range is unlocked when the peer has answered",
    file: "core/request_path.ts",
    from:
      "if (transfer.remotePending || transfer.remoteErrno === 0) this.#settlement.settle(transfer);",
    to:
      "if (transfer.entered && !transfer.remotePending && transfer.kind !== 'read') this.#env.lock.release(transfer);\n    if (transfer.remotePending || transfer.remoteErrno === 0) this.#settlement.settle(transfer);",
  },
];

const SYNCHRONISING: Mutant[] = [
  {
    name: "synchronised blocks do not keep users out",
    file: "core/synchroniser.ts",
    from: "if (this.#env.lock.acquire(block, block.dataOffsetBytes, block.lengthBytes)) {",
    to:
      "if (this.#env.lock.acquire(block, block.dataOffsetBytes + 2 ** 41 * (1 + block.extent), block.lengthBytes)) {",
  },
  {
    name: "blocks are always read from the primary",
    file: "core/synchroniser.ts",
    from: 'block.fromPeer = this.#env.activemap.isStale(block.extent, "local");',
    to: "block.fromPeer = false;",
  },
  {
    name: "a block from the peer is not written",
    file: "core/synchroniser.ts",
    from: "if (errno !== 0 || !block.fromPeer) this.#blockOver(block, errno);",
    to: "if (errno !== -1) this.#blockOver(block, errno);",
  },
  {
    name: "a request that fails while its extent is copied is overlooked",
    file: "core/synchroniser.ts",
    from: "if (extent >= first && extent <= last) open.failed = true;",
    to: "if (extent > last) open.failed = true;",
  },
  {
    name: "an extent counts before its last block",
    file: "core/synchroniser.ts",
    from: "if (issuing && !open.failed) return;",
    to: "",
  },
  {
    name: "an extent counts when its first block has arrived",
    file: "core/synchroniser.ts",
    from: "if (open.blocksInFlight === 0) this.#maybeClose(",
    to: "if (open.blocksInFlight >= 0) this.#maybeClose(",
  },
  {
    name: "blocks of an old link count for the new one",
    file: "core/synchroniser.ts",
    from: "open.failed = true;\n      if (open.blocksInFlight === 0) this.#open.delete(extent);",
    to: "",
  },
  {
    name: "a failed extent is never tried again",
    file: "core/synchroniser.ts",
    from: "this.#failed.clear();\n      this.resume();",
    to: "this.resume();",
  },
  {
    name: "a component out of service is written by the synchronisation",
    file: "core/synchroniser.ts",
    from: 'if (!this.#env.localWritable() && activemap.isStale(e, "local")) continue;',
    to: "",
  },
  {
    name: "an extent that is synchronised is clean at once",
    file: "core/activemap.ts",
    from: "this.#stale.local.delete(extent);\n    this.#unflushed.add(extent);",
    to: "this.#stale.local.delete(extent);",
  },
  {
    name: "the buffer of a block is not given back",
    file: "core/synchroniser.ts",
    from: "if (block.buffer !== undefined) this.#env.buffers.give(block.buffer);",
    to: "",
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...ORIGINAL,
  ...BEFORE_DATA,
  ...ACKNOWLEDGING,
  ...CLEANING,
  ...CONNECTING,
  ...DECIDING,
  ...SECONDARY,
  ...SERVING,
  ...SYNCHRONISING,
];
