/**
 * The client's side of NBD's bytes, for tests: builds what a client sends and takes apart what
 * the server answers. Written apart from `protocol/`, so that one does not prove the other.
 * @module
 */

const utf8 = new TextEncoder();

/** Joins pieces; a string is UTF-8. */
export function join(...parts: (Uint8Array | string | number[])[]): Uint8Array<ArrayBuffer> {
  const pieces = parts.map((part) => typeof part === "string" ? utf8.encode(part) : part);
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** Big-endian integers of 2, 4 and 8 bytes. */
export function u16(value: number): number[] {
  return [(value >>> 8) & 255, value & 255];
}
export function u32(value: number): number[] {
  return [...u16(value >>> 16), ...u16(value & 0xffff)];
}
export function u64(value: number | bigint): number[] {
  const wide = BigInt.asUintN(64, BigInt(value));
  return [...u32(Number(wide >> 32n)), ...u32(Number(wide & 0xffffffffn))];
}

export function clientFlags(flags: number): Uint8Array<ArrayBuffer> {
  return join(u32(flags));
}

export function option(
  number: number,
  data: Uint8Array | string | number[] = [],
): Uint8Array<ArrayBuffer> {
  const bytes = join(data);
  return join("IHAVEOPT", u32(number), u32(bytes.length), bytes);
}

/** Data of INFO and GO. */
export function infoData(name: string, types: number[] = []): Uint8Array<ArrayBuffer> {
  const nameBytes = utf8.encode(name);
  return join(u32(nameBytes.length), nameBytes, u16(types.length), types.flatMap(u16));
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaData(name: string, queries: string[] = []): Uint8Array<ArrayBuffer> {
  const strings = [name, ...queries].map((text) => utf8.encode(text));
  const [nameBytes = new Uint8Array(0), ...queryBytes] = strings;
  const head = join(u32(nameBytes.length), nameBytes, u32(queries.length));
  return join(head, ...queryBytes.map((bytes) => join(u32(bytes.length), bytes)));
}

/** One request; `payload` follows it (WRITE). */
export interface WireRequest {
  command: number;
  flags?: number;
  cookie?: number | bigint;
  offset?: number | bigint;
  length?: number;
  payload?: Uint8Array;
  magic?: number;
}

export function request(wanted: WireRequest): Uint8Array<ArrayBuffer> {
  const { command, flags = 0, cookie = 0, offset = 0, payload = new Uint8Array(0) } = wanted;
  const length = wanted.length ?? payload.length;
  const head = join(u32(wanted.magic ?? 0x25609513), u16(flags), u16(command), u64(cookie));
  return join(head, u64(offset), u32(length), payload);
}

/** A reply to an option. */
export interface OptionReply {
  option: number;
  type: number;
  data: Uint8Array;
}

/** Takes big-endian values off a growing stream; undefined while it is too short. */
export class WireReader {
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  push(bytes: Uint8Array): void {
    this.#bytes = join(this.#bytes, bytes);
  }

  get leftBytes(): number {
    return this.#bytes.length;
  }

  take(byteCount: number): Uint8Array | undefined {
    if (this.#bytes.length < byteCount) return undefined;
    const taken = this.#bytes.slice(0, byteCount);
    this.#bytes = this.#bytes.slice(byteCount);
    return taken;
  }

  optionReply(): OptionReply | undefined {
    if (this.leftBytes < 20) return undefined;
    const view = new DataView(this.#bytes.buffer);
    if (view.getBigUint64(0) !== 0x3e889045565a9n) throw new Error("Wrong option reply magic");
    const dataBytes = view.getUint32(16);
    const whole = this.take(20 + dataBytes);
    if (whole === undefined) return undefined;
    return { option: view.getUint32(8), type: view.getUint32(12), data: whole.subarray(20) };
  }

  /** All whole option replies, as `[option, type, data]`. */
  optionReplies(): [number, number, Uint8Array][] {
    const replies: [number, number, Uint8Array][] = [];
    for (let reply = this.optionReply(); reply !== undefined; reply = this.optionReply()) {
      replies.push([reply.option, reply.type, reply.data]);
    }
    return replies;
  }

  /** A simple reply without data, or with `dataBytes` where there was no error. */
  simpleReply(dataBytes = 0): { error: number; cookie: bigint; data: Uint8Array } | undefined {
    if (this.leftBytes < 16) return undefined;
    const view = new DataView(this.#bytes.buffer);
    if (view.getUint32(0) !== 0x67446698) throw new Error("Wrong simple reply magic");
    const error = view.getUint32(4);
    const whole = this.take(16 + (error === 0 ? dataBytes : 0));
    if (whole === undefined) return undefined;
    return { error, cookie: view.getBigUint64(8), data: whole.subarray(16) };
  }

  chunk(): WireChunk | undefined {
    if (this.leftBytes < 20) return undefined;
    const view = new DataView(this.#bytes.buffer);
    if (view.getUint32(0) !== 0x668e33ef) throw new Error("Wrong structured reply magic");
    const whole = this.take(20 + view.getUint32(16));
    if (whole === undefined) return undefined;
    return {
      done: (view.getUint16(4) & 1) !== 0,
      type: view.getUint16(6),
      cookie: view.getBigUint64(8),
      payload: whole.subarray(20),
    };
  }
}

/** A structured reply chunk. */
export interface WireChunk {
  done: boolean;
  type: number;
  cookie: bigint;
  payload: Uint8Array;
}
