/**
 * An NBD server with a write-back cache, as the disks of the chaos test that can lose their power:
 *
 *     deno run -A tests/chaos/volatile_disk.ts FILE SOCKET
 *
 * What was written is in memory only until a flush takes it to the file; every fourth block,
 * about, goes there before, as disks do it too. kill -9 is the power cut. It shares no code with
 * the server under test.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project.
 * @module
 */
import { COMMAND, FLAG, OPTION } from "../support/nbd_client.ts";

const BLOCK_BYTES = 4096;
const EARLY_CHANCE = 1 / 4;
const NBD_MAGIC = 0x4e42444d41474943n;
const OPTION_MAGIC = 0x49484156454f5054n;
const OPTION_REPLY_MAGIC = 0x3e889045565a9n;
const REPLY_MAGIC = 0x67446698;
/** FIXED_NEWSTYLE, NO_ZEROES. */
const HANDSHAKE_FLAGS = 3;
/** HAS_FLAGS, FLUSH, FUA, TRIM, WRITE_ZEROES, CAN_MULTI_CONN. */
const TRANSMISSION_FLAGS = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8;
const REPLY_ACK = 1;
const REPLY_INFO = 3;
const REPLY_UNSUPPORTED = 2 ** 31 + 1;
const EIO = 5;

/** The disk: what reads see, and what is on the file. */
class Disk {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #file: Deno.FsFile;
  readonly #dirty = new Set<number>();

  constructor(path: string) {
    this.bytes = Deno.readFileSync(path);
    this.#file = Deno.openSync(path, { write: true });
  }

  /** Bytes of a range have been changed. */
  changed(offsetBytes: number, lengthBytes: number): void {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES);
    for (let block = Math.floor(offsetBytes / BLOCK_BYTES); block <= last; block++) {
      if (Math.random() < EARLY_CHANCE) this.#store(block);
      else this.#dirty.add(block);
    }
  }

  flush(): void {
    for (const block of this.#dirty) this.#store(block);
  }

  #store(block: number): void {
    const start = block * BLOCK_BYTES;
    this.#file.seekSync(start, Deno.SeekMode.Start);
    const bytes = this.bytes.subarray(start, start + BLOCK_BYTES);
    for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
    this.#dirty.delete(block);
  }
}

/** One client. */
class Client {
  readonly #conn: Deno.Conn;
  readonly #disk: Disk;

  constructor(conn: Deno.Conn, disk: Disk) {
    this.#conn = conn;
    this.#disk = disk;
  }

  async serve(): Promise<void> {
    try {
      await this.#negotiate();
      while (await this.#request());
    } catch (error) {
      if (!(error instanceof Deno.errors.UnexpectedEof)) throw error;
    } finally {
      this.#conn.close();
    }
  }

  async #negotiate(): Promise<void> {
    const greeting = new DataView(new ArrayBuffer(18));
    greeting.setBigUint64(0, NBD_MAGIC);
    greeting.setBigUint64(8, OPTION_MAGIC);
    greeting.setUint16(16, HANDSHAKE_FLAGS);
    await this.#write(new Uint8Array(greeting.buffer));
    await this.#read(4);
    for (;;) {
      const head = new DataView((await this.#read(16)).buffer);
      const option = head.getUint32(8);
      await this.#read(head.getUint32(12));
      if (option !== OPTION.go) {
        await this.#replyOption(option, REPLY_UNSUPPORTED);
        continue;
      }
      const info = new DataView(new ArrayBuffer(12));
      info.setBigUint64(2, BigInt(this.#disk.bytes.length));
      info.setUint16(10, TRANSMISSION_FLAGS);
      await this.#replyOption(option, REPLY_INFO, new Uint8Array(info.buffer));
      await this.#replyOption(option, REPLY_ACK);
      return;
    }
  }

  async #replyOption(option: number, type: number, data = new Uint8Array()): Promise<void> {
    const head = new DataView(new ArrayBuffer(20));
    head.setBigUint64(0, OPTION_REPLY_MAGIC);
    head.setUint32(8, option);
    head.setUint32(12, type);
    head.setUint32(16, data.length);
    await this.#write(new Uint8Array([...new Uint8Array(head.buffer), ...data]));
  }

  /** Returns false when the client says goodbye. */
  async #request(): Promise<boolean> {
    const head = new DataView((await this.#read(28)).buffer);
    const command = head.getUint16(6);
    const offsetBytes = Number(head.getBigUint64(16));
    const lengthBytes = head.getUint32(24);
    if (command === COMMAND.disconnect) return false;
    const range = this.#disk.bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
    const errno = range.length === lengthBytes ? await this.#carryOut(command, range) : EIO;
    if ((head.getUint16(4) & FLAG.fua) !== 0) this.#disk.flush();
    const withData = command === COMMAND.read && errno === 0;
    const reply = new Uint8Array(16 + (withData ? lengthBytes : 0));
    const view = new DataView(reply.buffer);
    view.setUint32(0, REPLY_MAGIC);
    view.setUint32(4, errno);
    view.setBigUint64(8, head.getBigUint64(8));
    if (withData) reply.set(range, 16);
    await this.#write(reply);
    return true;
  }

  async #carryOut(command: number, range: Uint8Array): Promise<number> {
    switch (command) {
      case COMMAND.read:
        return 0;
      case COMMAND.write:
        range.set(await this.#read(range.length));
        break;
      case COMMAND.trim:
      case COMMAND.writeZeroes:
        range.fill(0);
        break;
      case COMMAND.flush:
        this.#disk.flush();
        return 0;
      default:
        return EIO;
    }
    this.#disk.changed(range.byteOffset, range.length);
    return 0;
  }

  async #read(byteCount: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(byteCount);
    for (let filled = 0; filled < byteCount;) {
      const count = await this.#conn.read(bytes.subarray(filled));
      if (count === null) throw new Deno.errors.UnexpectedEof("The client is gone");
      filled += count;
    }
    return bytes;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += await this.#conn.write(bytes.subarray(done));
  }
}

if (import.meta.main) {
  const [path = "", socketPath = ""] = Deno.args;
  const disk = new Disk(path);
  for await (const conn of Deno.listen({ transport: "unix", path: socketPath })) {
    void new Client(conn, disk).serve();
  }
}
