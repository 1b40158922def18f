/**
 * Asks hastd: one connection, one request, one reply.
 *
 * Source: control.md, control socket.
 * @module
 */
import { ERRNO, strerror } from "../base/errno.ts";
import { ConfigError, EX, HastError, ProtocolError } from "../base/errors.ts";
import { systemErrorName, systemErrorText } from "../base/system_error.ts";
import { parseAddress } from "../conf/address.ts";
import { CONTROL_REPLY_BYTES_MAX, type ControlReply } from "../protocol/control_reply.ts";
import {
  CONTROL_RESOURCES_MAX,
  type ControlRequest,
  encodeControlRequest,
} from "../protocol/control_request.ts";
import { encodeFrame, type Frame, FrameReader, PROTOCOL_VERSION } from "../protocol/frame.ts";
import type { Nv } from "../protocol/nv.ts";

/** How long hastd may take: a change of role waits for the old worker to end. */
export const REPLY_TIMEOUT_MS = 120_000;

const CHUNK_BYTES = 64 * 1024;
/** sizeof(sun_path) less the NUL. */
const SOCKET_PATH_BYTES_MAX = Deno.build.os === "linux" ? 107 : 103;

/** How to wait for a reply. */
export interface ExchangeOptions {
  /** For all of it. */
  timeoutMs?: number;
  /** Wait until the daemon closes the connection, too. */
  untilClosed?: boolean;
}

/**
 * Asks the daemon behind `address` and decodes its reply, which is no error.
 *
 * @throws {HastError} As {@link exchange}; 64: too many names; 70, or the code that the daemon
 * gave with a message: it refused the request as a whole.
 */
export async function askDaemon<Resource>(
  address: string,
  request: ControlRequest,
  decode: (reply: Nv) => ControlReply<Resource>,
  options: ExchangeOptions = {},
): Promise<ControlReply<Resource>> {
  if ("resources" in request && request.resources.length > CONTROL_RESOURCES_MAX) {
    throw new HastError(EX.usage, `More than ${CONTROL_RESOURCES_MAX} resources in one request.`);
  }
  const header = await exchange(address, encodeControlRequest(request), options);
  const reply = understood(() => decode(header));
  if (reply.error === 0) return reply;
  if (reply.message !== undefined) throw new HastError(exitCodeOf(reply.error), reply.message);
  throw new HastError(EX.software, `Error ${reply.error} received from hastd.`);
}

/** Errors with a message are exit codes: those of sysexits(3) at least come out as they are. */
function exitCodeOf(error: number): number {
  return error >= EX.usage && error <= EX.config ? error : EX.software;
}

/** What a program says that is no daemon of ours, or a broken one, is an error of its own. */
function understood<T>(decode: () => T): T {
  try {
    return decode();
  } catch (thrown) {
    if (!(thrown instanceof ProtocolError)) throw thrown;
    throw new HastError(EX.software, `Invalid reply received from hastd: ${thrown.message}.`);
  }
}

/**
 * Sends `request` to the daemon behind `address` and waits for its reply.
 *
 * @param address The control address as the configuration has it.
 * @throws {HastError} Exit code 71: no connection, or no reply within `timeoutMs`; 70: the reply
 * cannot be understood.
 */
export async function exchange(
  address: string,
  request: Nv,
  { timeoutMs = REPLY_TIMEOUT_MS, untilClosed = false }: ExchangeOptions = {},
): Promise<Nv> {
  const conn = await connect(address);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    conn.close(); // Ends the call that is under way.
  }, timeoutMs);
  try {
    await sendWhole(conn, encodeFrame(PROTOCOL_VERSION, request));
    const { header } = await receiveFrame(conn);
    if (untilClosed) await receiveEnd(conn);
    return header;
  } catch (thrown) {
    if (late) throw noReply(address, strerror(ERRNO.ETIMEDOUT));
    if (thrown instanceof HastError) throw thrown;
    throw noReply(address, systemErrorText(thrown));
  } finally {
    clearTimeout(timer);
    if (!late) conn.close();
  }
}

function noReply(address: string, reason: string): HastError {
  return new HastError(EX.osErr, `Unable to receive a reply from hastd via ${address}: ${reason}.`);
}

async function connect(address: string): Promise<Deno.UnixConn> {
  const path = socketPathOf(address);
  try {
    return await Deno.connect({ transport: "unix", path });
  } catch (thrown) {
    const reason = systemErrorText(thrown);
    throw new HastError(EX.osErr, `Unable to connect to hastd via ${address}: ${reason}.`);
  }
}

function socketPathOf(address: string): string {
  const path = unixPathOf(address);
  if (path === undefined) throw noSetup(address, ERRNO.EINVAL);
  if (new TextEncoder().encode(path).length > SOCKET_PATH_BYTES_MAX) {
    throw noSetup(address, ERRNO.ENAMETOOLONG);
  }
  return path;
}

function unixPathOf(address: string): string | undefined {
  try {
    const parsed = parseAddress(address);
    return parsed.kind === "unix" ? parsed.path : undefined;
  } catch (thrown) {
    if (thrown instanceof ConfigError) return undefined;
    throw thrown;
  }
}

function noSetup(address: string, errno: number): HastError {
  const reason = strerror(errno);
  return new HastError(EX.osErr, `Unable to setup control connection to ${address}: ${reason}.`);
}

async function sendWhole(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sentBytes = 0; sentBytes < bytes.length;) {
    sentBytes += await conn.write(bytes.subarray(sentBytes));
  }
}

/** Waits for the end of the connection; what still comes is nothing to us. */
async function receiveEnd(conn: Deno.Conn): Promise<void> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  try {
    while (await conn.read(chunk) !== null);
  } catch (thrown) {
    if (systemErrorName(thrown) !== "ECONNRESET") throw thrown;
  }
}

/** The first frame that arrives: nothing may follow it that would matter. */
async function receiveFrame(conn: Deno.Conn): Promise<Frame> {
  const reader = new FrameReader({
    headerBytesMax: CONTROL_REPLY_BYTES_MAX,
    dataBytesMax: 0,
  });
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const chunkBytes = await conn.read(chunk);
    if (chunkBytes === null) throw new Error("connection closed");
    reader.push(chunk.subarray(0, chunkBytes));
    const frame = understood(() => reader.next());
    if (frame !== undefined) return frame;
  }
}
