/**
 * What a disk may hold, known from the outside: for every sector the versions that were written
 * and what users were told of them. Nothing here knows that there are two nodes.
 * @module
 */

/** One write of one sector. */
interface Version {
  readonly content: number;
  readonly begunAt: number;
  /** When the user was told, or the node died; Infinity while under way. */
  endedAt: number;
  /** The user was told that it succeeded. */
  acknowledged: boolean;
  /** Begun before a power cut that may have taken it: what the user is told says nothing. */
  mayBeLost: boolean;
  /** A flush that began after the acknowledgement has succeeded. */
  flushed: boolean;
}

/** A write of several sectors, between `begin` and `end`. */
export interface WriteHandle {
  readonly first: number;
  readonly versions: readonly Version[];
}

/** A read of several sectors: what each of them may return. */
export interface ReadHandle {
  readonly first: number;
  readonly contents: readonly number[][];
}

export class Model {
  /** Order of events: each has its own number. */
  #now = 1;
  readonly #sectors: Version[][];
  readonly #watchers: Set<number[]>[];
  readonly #writes = new Set<WriteHandle>();
  readonly #everWritten: Set<number>[];

  constructor(sectorCount: number) {
    const blank = (): Version => ({
      content: 0,
      begunAt: 0,
      endedAt: 0,
      acknowledged: true,
      mayBeLost: false,
      flushed: true,
    });
    this.#sectors = Array.from({ length: sectorCount }, () => [blank()]);
    this.#watchers = Array.from({ length: sectorCount }, () => new Set());
    this.#everWritten = Array.from({ length: sectorCount }, () => new Set([0]));
  }

  // ---- writes ----

  begin(first: number, count: number, content: number): WriteHandle {
    const begunAt = this.#now++;
    const versions = Array.from({ length: count }, () => ({
      content,
      begunAt,
      endedAt: Infinity,
      acknowledged: false,
      mayBeLost: false,
      flushed: false,
    }));
    versions.forEach((version, index) => {
      this.#sectors[first + index]?.push(version);
      this.#everWritten[first + index]?.add(content);
      for (const contents of this.#watchers[first + index] ?? []) contents.push(content);
    });
    const handle = { first, versions };
    this.#writes.add(handle);
    return handle;
  }

  /** @param flushed It had FUA: it survives a power cut from now on. */
  end(handle: WriteHandle, acknowledged: boolean, flushed = false): void {
    if (!this.#writes.delete(handle)) throw new Error("a request was answered twice");
    const endedAt = this.#now++;
    handle.versions.forEach((version, index) => {
      version.endedAt = endedAt;
      version.acknowledged = acknowledged && (!version.mayBeLost || flushed);
      version.flushed = acknowledged && flushed;
      if (version.flushed) this.#prune(handle.first + index);
    });
  }

  /** The node that served has died: nobody will be told of what was under way. */
  abandon(): void {
    for (const handle of [...this.#writes]) this.end(handle, false);
    for (const watchers of this.#watchers) watchers.clear();
  }

  /** @returns what to give to {@link flushed} when the flush has succeeded. */
  beginFlush(): number {
    return this.#now++;
  }

  flushed(begunAt: number): void {
    this.#sectors.forEach((versions, sector) => {
      for (const version of versions) {
        if (version.acknowledged && version.endedAt < begunAt) version.flushed = true;
      }
      this.#prune(sector);
    });
  }

  /** Forgets what is overwritten for good. */
  #prune(sector: number): void {
    const versions = this.#sectors[sector] ?? [];
    const kept = versions.filter((v) =>
      !versions.some((w) => w.acknowledged && w.flushed && w.begunAt > v.endedAt)
    );
    this.#sectors[sector] = kept;
  }

  // ---- what may be lost ----

  /** The only node that had everything has lost its power: what was not flushed may be gone. */
  powerCut(): void {
    for (const versions of this.#sectors) {
      for (const version of versions) {
        if (version.flushed) continue;
        version.acknowledged = false;
        version.mayBeLost = true;
      }
    }
  }

  /** An administrator has made a node primary that lacks data, or thrown away a component. */
  anythingGoes(): void {
    const endedAt = this.#now++;
    this.#sectors.forEach((_versions, sector) => {
      this.#sectors[sector] = [...this.#everWritten[sector] ?? []].map((content) => ({
        content,
        begunAt: endedAt,
        endedAt,
        acknowledged: false,
        mayBeLost: false,
        flushed: false,
      }));
    });
  }

  // ---- reads ----

  #allowed(sector: number): number[] {
    const versions = this.#sectors[sector] ?? [];
    return versions.filter((v) => !versions.some((w) => w.acknowledged && w.begunAt > v.endedAt))
      .map((v) => v.content);
  }

  /**
   * What a read that begins now may return: what is allowed now, or any version begun until it
   * is done, even one that is overwritten by then.
   */
  beginRead(first: number, count: number): ReadHandle {
    const contents = Array.from({ length: count }, (_, index) => this.#allowed(first + index));
    contents.forEach((list, index) => this.#watchers[first + index]?.add(list));
    return { first, contents };
  }

  endRead(handle: ReadHandle): void {
    handle.contents.forEach((list, index) => this.#watchers[handle.first + index]?.delete(list));
  }

  /** Checks what a component holds, or what a read has returned if `handle` is given. */
  check(sector: number, content: number, what: string, handle?: ReadHandle): void {
    const allowed = handle?.contents[sector - handle.first] ?? this.#allowed(sector);
    if (!allowed.includes(content)) {
      throw new Error(`${what}: sector ${sector} holds version ${content}, may hold ${allowed}`);
    }
  }
}
