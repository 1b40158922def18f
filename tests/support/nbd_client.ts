/**
 * A small NBD client for tests, with many requests in flight. It shares no code with the server,
 * so that a misread specification does not cancel out.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project.
 * @module
 */

const CLIENT_FLAGS = 3; // FIXED_NEWSTYLE and NO_ZEROES.
const OPTION_MAGIC = 0x49484156454f5054n;
const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
const REQUEST_MAGIC = 0x25609513;
const REPLY_MAGIC = 0x67446698;
const INFO_EXPORT = 0;

/** Options of the handshake. */
export const OPTION = { exportName: 1, abort: 2, list: 3, info: 6, go: 7 } as const;

/** Commands of the transmission. */
export const COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
} as const;

/** Command flags. */
export const FLAG = { fua: 1, noHole: 2 } as const;

/** One request; `data` for writes only. */
export interface Request {
  command: number;
  flags?: number;
  offsetBytes?: number;
  lengthBytes?: number;
  data?: Uint8Array;
}

/** The server answered with an error. */
export class NbdError extends Error {
  override name = "NbdError";
  /** @param errno The number on the wire: 22 EINVAL, 28 ENOSPC and so on. */
  constructor(readonly errno: number) {
    super(`The NBD server answered with error ${errno}`);
  }
}

interface Waiting {
  readBytes: number;
  resolve(data: Uint8Array): void;
  reject(error: Error): void;
}

/** Reads exact amounts from a connection. */
class ExactReader {
  readonly #conn: Deno.Conn;
  #buffer = new Uint8Array(1 << 18);
  #start = 0;
  #end = 0;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** The next `byteCount` bytes, a copy. Throws UnexpectedEof where the stream ends first. */
  async read(byteCount: number): Promise<Uint8Array<ArrayBuffer>> {
    const result = new Uint8Array(byteCount);
    let filled = 0;
    while (filled < byteCount) {
      if (this.#start === this.#end) await this.#fill();
      const part = this.#buffer.subarray(
        this.#start,
        Math.min(this.#end, this.#start + byteCount - filled),
      );
      result.set(part, filled);
      filled += part.length;
      this.#start += part.length;
    }
    return result;
  }

  async #fill(): Promise<void> {
    const count = await this.#conn.read(this.#buffer);
    if (count === null) throw new Deno.errors.UnexpectedEof("The NBD server closed the connection");
    this.#start = 0;
    this.#end = count;
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await conn.write(bytes.subarray(done));
}

function optionBytes(option: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, OPTION_MAGIC);
  view.setUint32(8, option);
  view.setUint32(12, data.length);
  bytes.set(data, 16);
  return bytes;
}

/** Data of INFO and GO: the name, and no wish for further information. */
function goBytes(exportName: string): Uint8Array {
  const name = new TextEncoder().encode(exportName);
  const bytes = new Uint8Array(4 + name.length + 2);
  new DataView(bytes.buffer).setUint32(0, name.length);
  bytes.set(name, 4);
  return bytes;
}

/** The 28 bytes in front of every request. */
export function requestBytes(request: Request, cookie: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REQUEST_MAGIC);
  view.setUint16(4, request.flags ?? 0);
  view.setUint16(6, request.command);
  view.setBigUint64(8, cookie);
  view.setBigUint64(16, BigInt(request.offsetBytes ?? 0));
  view.setUint32(24, request.data?.length ?? request.lengthBytes ?? 0);
  return bytes;
}

/** A connection in the transmission phase. */
export class NbdClient implements AsyncDisposable {
  readonly #conn: Deno.Conn;
  readonly #reader: ExactReader;
  readonly #waiting = new Map<bigint, Waiting>();
  #lastCookie = 0n;
  #writes: Promise<void> = Promise.resolve();
  #replies: Promise<void> = Promise.resolve();
  #ended = false;

  private constructor(
    conn: Deno.Conn,
    reader: ExactReader,
    /** Size of the export. */
    readonly sizeBytes: number,
    /** Transmission flags as sent by the server. */
    readonly transmissionFlags: number,
  ) {
    this.#conn = conn;
    this.#reader = reader;
  }

  /**
   * Connects over a Unix socket and negotiates with GO.
   *
   * @throws {Error} The server refuses the export or breaks the protocol.
   */
  static async connect(path: string, exportName = ""): Promise<NbdClient> {
    const conn = await Deno.connect({ transport: "unix", path });
    try {
      const reader = new ExactReader(conn);
      const greeting = new DataView((await reader.read(18)).buffer);
      if (greeting.getBigUint64(8) !== OPTION_MAGIC) throw new Error("No newstyle NBD server");
      await writeAll(conn, new Uint8Array([0, 0, 0, CLIENT_FLAGS]));
      await writeAll(conn, optionBytes(OPTION.go, goBytes(exportName)));
      const client = await NbdClient.#negotiated(conn, reader);
      client.#replies = client.#readReplies();
      return client;
    } catch (error) {
      conn.close();
      throw error;
    }
  }

  static async #negotiated(conn: Deno.Conn, reader: ExactReader): Promise<NbdClient> {
    let client: NbdClient | undefined;
    for (;;) {
      const head = new DataView((await reader.read(20)).buffer);
      if (head.getBigUint64(0) !== OPTION_REPLY_MAGIC) throw new Error("Bad option reply");
      const type = head.getUint32(12);
      const data = new DataView((await reader.read(head.getUint32(16))).buffer);
      if (type === 1 && client !== undefined) return client;
      if (type !== 3) throw new Error(`The NBD server refuses the export: ${type.toString(16)}`);
      if (data.getUint16(0) === INFO_EXPORT) {
        const sizeBytes = Number(data.getBigUint64(2));
        client = new NbdClient(conn, reader, sizeBytes, data.getUint16(10));
      }
    }
  }

  /** Sends a request; the promise ends with its reply: the data of a read, else nothing. */
  send(request: Request): Promise<Uint8Array> {
    if (this.#ended) return Promise.reject(new Deno.errors.UnexpectedEof("Connection has ended"));
    const cookie = ++this.#lastCookie;
    const readBytes = request.command === COMMAND.read ? request.lengthBytes ?? 0 : 0;
    const reply = new Promise<Uint8Array>((resolve, reject) => {
      this.#waiting.set(cookie, { readBytes, resolve, reject });
    });
    this.#writes = this.#writes.then(() => this.#write(request, cookie))
      .catch((error: Error) => this.#fail(error));
    return reply;
  }

  /** Reads `lengthBytes` bytes. */
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.send({ command: COMMAND.read, offsetBytes, lengthBytes });
  }

  /** Writes `data`; with `FLAG.fua` it is on stable storage afterwards. */
  async write(offsetBytes: number, data: Uint8Array, flags = 0): Promise<void> {
    await this.send({ command: COMMAND.write, flags, offsetBytes, data });
  }

  /** Discards a range. */
  async trim(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.send({ command: COMMAND.trim, offsetBytes, lengthBytes });
  }

  /** Writes zeros to a range. */
  async writeZeroes(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.send({ command: COMMAND.writeZeroes, offsetBytes, lengthBytes });
  }

  /** Waits until all that was answered is on stable storage. */
  async flush(): Promise<void> {
    await this.send({ command: COMMAND.flush });
  }

  /** Sends bytes as they are, for what no well-behaved client does. */
  async sendRaw(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#conn, bytes);
  }

  /** Ends once the server has closed the connection, for whatever reason. */
  async ended(): Promise<void> {
    await this.#replies;
  }

  /** Says goodbye and closes. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      this.#writes = this.#writes.then(() =>
        writeAll(this.#conn, requestBytes({ command: COMMAND.disconnect }, 0n))
      ).catch((error: Error) => this.#fail(error));
      await this.#writes;
    }
    try {
      this.#conn.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
    await this.#replies;
  }

  async #write(request: Request, cookie: bigint): Promise<void> {
    const head = requestBytes(request, cookie);
    if (request.data === undefined) return await writeAll(this.#conn, head);
    const bytes = new Uint8Array(head.length + request.data.length);
    bytes.set(head);
    bytes.set(request.data, head.length);
    await writeAll(this.#conn, bytes);
  }

  async #readReplies(): Promise<void> {
    try {
      for (;;) await this.#readReply();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #readReply(): Promise<void> {
    const head = new DataView((await this.#reader.read(16)).buffer);
    if (head.getUint32(0) !== REPLY_MAGIC) throw new Error("Bad magic number in an NBD reply");
    const errno = head.getUint32(4);
    const cookie = head.getBigUint64(8);
    const waiting = this.#waiting.get(cookie);
    if (waiting === undefined) throw new Error(`Reply to a request that was not sent: ${cookie}`);
    const data = errno === 0 ? await this.#reader.read(waiting.readBytes) : new Uint8Array();
    this.#waiting.delete(cookie);
    if (errno === 0) waiting.resolve(data);
    else waiting.reject(new NbdError(errno));
  }

  #fail(error: Error): void {
    this.#ended = true;
    for (const waiting of this.#waiting.values()) waiting.reject(error);
    this.#waiting.clear();
  }
}
