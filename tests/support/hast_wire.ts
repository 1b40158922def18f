/**
 * Frames between HAST processes, spoken by tests: right ones and, above all, wrong ones. Shares no
 * code with the program.
 *
 * Source: wire.md, frame and name-value block.
 * @module
 */
import { DEADLINE_MS, within } from "./wait.ts";

const SCALAR_TYPES = {
  int8: 1,
  uint8: 2,
  int16: 3,
  int32: 5,
  uint32: 6,
  int64: 7,
  uint64: 8,
} as const;
const TYPES = { ...SCALAR_TYPES, bytes: 10, string: 17 } as const;
const SCALAR_BYTES = {
  int8: 1,
  uint8: 1,
  int16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  uint64: 8,
} as const;

/** One entry: name, type, value. `bytes` is an array of uint8. */
export type Entry =
  | [name: string, type: keyof typeof SCALAR_BYTES, value: number | bigint]
  | [name: string, type: "string", value: string]
  | [name: string, type: "bytes", value: Uint8Array];

/** What was received, by name: numbers as bigint, strings, other types as bytes. */
export type Fields = Map<string, bigint | string | Uint8Array>;

function round8(byteCount: number): number {
  return Math.ceil(byteCount / 8) * 8;
}

function entryData([, type, value]: Entry): Uint8Array {
  if (type === "string") return new TextEncoder().encode(`${value}\0`);
  if (type === "bytes") return value;
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes.subarray(0, SCALAR_BYTES[type]);
}

function encodeEntry(entry: Entry): Uint8Array {
  const name = new TextEncoder().encode(`${entry[0]}\0`);
  const data = entryData(entry);
  const bytes = new Uint8Array(6 + round8(name.length) + round8(data.length));
  bytes[0] = TYPES[entry[1]];
  bytes[1] = name.length;
  new DataView(bytes.buffer).setUint32(2, data.length, true);
  bytes.set(name, 6);
  bytes.set(data, 6 + round8(name.length));
  return bytes;
}

/** Several pieces as one. */
export function concat(...pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return bytes;
}

/** The five bytes in front of every name-value block. */
export function framePrefix(version: number, headerBytes: number): Uint8Array {
  const bytes = new Uint8Array(5);
  bytes[0] = version;
  new DataView(bytes.buffer).setUint32(1, headerBytes, true);
  return bytes;
}

/** A whole frame; `data` is sent as it is, the caller says its `size`. */
export function frame(
  entries: Entry[],
  version = 2,
  data: Uint8Array = new Uint8Array(),
): Uint8Array {
  const block = concat(...entries.map(encodeEntry));
  return concat(framePrefix(version, block.length), block, data);
}

function decodeValue(type: number, data: Uint8Array): bigint | string | Uint8Array {
  if (type === TYPES.string) return new TextDecoder().decode(data.subarray(0, -1));
  if (type > 8) return data;
  const bytes = new Uint8Array(8);
  bytes.set(data);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

function decodeBlock(block: Uint8Array): Fields {
  const fields: Fields = new Map();
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  for (let at = 0; at < block.length && block[at] !== 0;) {
    const nameBytes = view.getUint8(at + 1);
    const dataBytes = view.getUint32(at + 2, true);
    const name = new TextDecoder().decode(block.subarray(at + 6, at + 6 + nameBytes - 1));
    const dataAt = at + 6 + round8(nameBytes);
    fields.set(name, decodeValue(view.getUint8(at), block.slice(dataAt, dataAt + dataBytes)));
    at = dataAt + round8(dataBytes);
  }
  return fields;
}

/** A frame as it came. */
export interface WholeFrame {
  version: number;
  fields: Fields;
  /** As many bytes as the field `size` says, as they came. */
  data: Uint8Array;
}

/** A connection to the replication port or the control socket of a daemon. */
export class FrameConn implements Disposable {
  constructor(readonly conn: Deno.Conn) {}

  /** Connects to a replication port. */
  static async tcp(hostname: string, port: number): Promise<FrameConn> {
    return new FrameConn(await Deno.connect({ hostname, port }));
  }

  /** Connects to a control socket. */
  static async unix(path: string): Promise<FrameConn> {
    return new FrameConn(await Deno.connect({ transport: "unix", path }));
  }

  /** Sends bytes; a peer that has closed meanwhile is no error, what it answered still counts. */
  async send(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;) {
        done += await this.conn.write(bytes.subarray(done));
      }
    } catch (error) {
      if (!isClosed(error)) throw error;
    }
  }

  /** Receives a frame and its data, or undefined where the peer has closed instead. */
  async receive(): Promise<Fields | undefined> {
    return (await this.receiveWhole())?.fields;
  }

  /**
   * {@link receive}, with the version byte and the data.
   *
   * @param deadlineMs How long the peer has for each part of the frame.
   */
  async receiveWhole(deadlineMs = DEADLINE_MS): Promise<WholeFrame | undefined> {
    const prefix = await this.#read(5, deadlineMs);
    if (prefix === undefined) return undefined;
    const view = new DataView(prefix.buffer);
    const block = await this.#read(view.getUint32(1, true), deadlineMs);
    if (block === undefined) return undefined;
    const fields = decodeBlock(block);
    const size = fields.get("size");
    const data = await this.#read(typeof size === "bigint" ? Number(size) : 0, deadlineMs);
    return data === undefined ? undefined : { version: view.getUint8(0), fields, data };
  }

  /** Says that nothing more will come. */
  async closeWrite(): Promise<void> {
    try {
      await this.conn.closeWrite();
    } catch (error) {
      if (!isClosed(error)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.conn.close();
  }

  async #read(
    byteCount: number,
    deadlineMs: number,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const bytes = new Uint8Array(byteCount);
    for (let done = 0; done < byteCount;) {
      const some = this.#readSome(bytes, done);
      const count = await within("the daemon answers or closes", some, deadlineMs);
      if (count === null) return undefined;
      done += count;
    }
    return bytes;
  }

  async #readSome(bytes: Uint8Array, offset: number): Promise<number | null> {
    try {
      return await this.conn.read(bytes.subarray(offset));
    } catch (error) {
      if (isClosed(error)) return null;
      throw error;
    }
  }
}

function isClosed(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.NotConnected;
}
