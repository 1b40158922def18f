/**
 * The negotiation of one NBD connection: a state machine that is fed with what the client sent
 * and hands out what to answer. It does no I/O.
 *
 * Everything is answered within the protocol; a client that breaks it so that no answer is
 * possible, or that goes on for ever, ends in the state `closed`.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, "Fixed newstyle negotiation" and
 * "Option types"; nbd.md.
 * @module
 */
import { NBD_INFO, NBD_OPT, NBD_REP } from "../protocol/nbd.ts";
import {
  type BlockSizes,
  decodeClientFlags,
  decodeExportName,
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeErrorText,
  encodeExportNameReply,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeInfoText,
  encodeMetaContext,
  encodeOptionReply,
  encodeServerData,
  type InfoRequest,
  NBD_CLIENT_FLAGS_BYTES,
  NBD_OPTION_HEADER_BYTES,
} from "../protocol/nbd_handshake.ts";

/** Most data of an option that is looked at: a name and a few hundred queries. */
export const NBD_OPTION_DATA_BYTES_MAX = 16 * 1024;
/** Most data of an option that is read and thrown away; whoever announces more is cut off. */
export const NBD_OPTION_DISCARD_BYTES_MAX = 1024 * 1024;
/** Most options of one connection. */
export const NBD_OPTION_COUNT_MAX = 64;

/** The only metadata context there is, and the number it goes by. */
const META_CONTEXT = "base:allocation";
export const NBD_META_CONTEXT_ID = 1;

/** What is offered to clients. */
export interface NbdExport {
  /** Clients may also ask for the empty name, the default export. */
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  /** NBD_FLAG of a client without and with structured replies. */
  readonly flags: number;
  readonly structuredFlags: number;
  readonly blockSizes: BlockSizes;
}

/** `transmission`: requests follow; `closed`: send what is queued, then end the connection. */
export type NegotiationState = "clientFlags" | "option" | "discard" | "transmission" | "closed";

/** Options whose data is looked at. */
const OPTIONS_WITH_DATA: ReadonlySet<number> = new Set([
  NBD_OPT.exportName,
  NBD_OPT.info,
  NBD_OPT.go,
  NBD_OPT.listMetaContext,
  NBD_OPT.setMetaContext,
]);
/** Options that must come without data. */
const OPTIONS_WITHOUT_DATA: ReadonlySet<number> = new Set([
  NBD_OPT.list,
  NBD_OPT.startTls,
  NBD_OPT.structuredReply,
  NBD_OPT.extendedHeaders,
]);

/** One negotiation, from the client's flags to the transmission phase. */
export class NbdNegotiation {
  readonly #export: NbdExport;
  readonly #send: (bytes: Uint8Array) => void;
  #state: NegotiationState = "clientFlags";
  #noZeroes = false;
  #structuredReplies = false;
  #metaContextSet = false;
  #shuttingDown = false;
  #optionCount = 0;
  /** Set while the data of an option is being thrown away. */
  #discardBytes = 0;
  #discardOption = 0;
  #discardReply: number = NBD_REP.errUnsup;

  /** @param send Takes each piece of the answer, in order, and may keep it. */
  constructor(offered: NbdExport, send: (bytes: Uint8Array) => void) {
    this.#export = offered;
    this.#send = send;
  }

  get state(): NegotiationState {
    return this.#state;
  }

  /** The client takes structured replies only. */
  get structuredReplies(): boolean {
    return this.#structuredReplies;
  }

  /** The client has selected `base:allocation` and may send BLOCK_STATUS. */
  get metaContextSet(): boolean {
    return this.#metaContextSet;
  }

  /** From now on all options but ABORT are answered with ERR_SHUTDOWN. */
  shutdown(): void {
    this.#shuttingDown = true;
  }

  /**
   * Takes what the client sent.
   *
   * @param input All bytes that are unused so far. The caller keeps what is not taken and must be
   * able to offer {@link NBD_OPTION_DATA_BYTES_MAX} plus 16 bytes in one piece.
   * @returns How many bytes were taken; after `transmission` the rest is requests.
   */
  receive(input: Uint8Array): number {
    let usedBytes = 0;
    for (;;) {
      const stepBytes = this.#step(input.subarray(usedBytes));
      if (stepBytes === 0) return usedBytes;
      usedBytes += stepBytes;
    }
  }

  #step(input: Uint8Array): number {
    switch (this.#state) {
      case "clientFlags":
        return this.#takeClientFlags(input);
      case "option":
        return this.#takeOption(input);
      case "discard":
        return this.#discard(input);
      case "transmission":
      case "closed":
        return 0;
    }
  }

  #takeClientFlags(input: Uint8Array): number {
    if (input.length < NBD_CLIENT_FLAGS_BYTES) return 0;
    const flags = decodeClientFlags(input);
    this.#state = flags === undefined ? "closed" : "option";
    this.#noZeroes = flags?.noZeroes ?? false;
    return NBD_CLIENT_FLAGS_BYTES;
  }

  #takeOption(input: Uint8Array): number {
    if (input.length < NBD_OPTION_HEADER_BYTES) return 0;
    const header = decodeOptionHeader(input);
    if (header === undefined || header.dataBytes > NBD_OPTION_DISCARD_BYTES_MAX) {
      return this.#close();
    }
    const { option, dataBytes } = header;
    if (OPTIONS_WITH_DATA.has(option) && dataBytes <= NBD_OPTION_DATA_BYTES_MAX) {
      const optionBytes = NBD_OPTION_HEADER_BYTES + dataBytes;
      if (input.length < optionBytes) return 0;
      if (!this.#countOption()) return this.#close();
      this.#answer(option, input.subarray(NBD_OPTION_HEADER_BYTES, optionBytes));
      return optionBytes;
    }
    if (!this.#countOption()) return this.#close();
    this.#discardBytes = dataBytes;
    this.#discardOption = option;
    this.#discardReply = replyWithoutData(option, dataBytes);
    this.#state = "discard";
    // Without data the answer is due now: the client may send nothing until it has it.
    return NBD_OPTION_HEADER_BYTES + this.#discard(input.subarray(NBD_OPTION_HEADER_BYTES));
  }

  #close(): number {
    this.#state = "closed";
    return 0;
  }

  #countOption(): boolean {
    this.#optionCount++;
    return this.#optionCount <= NBD_OPTION_COUNT_MAX;
  }

  #discard(input: Uint8Array): number {
    const takenBytes = Math.min(input.length, this.#discardBytes);
    this.#discardBytes -= takenBytes;
    if (this.#discardBytes === 0) {
      this.#state = "option";
      this.#answerWithoutData(this.#discardOption, this.#discardReply);
    }
    return takenBytes;
  }

  /** Answers an option whose data does not matter; `type` is ack where it is all right. */
  #answerWithoutData(option: number, type: number): void {
    if (option === NBD_OPT.exportName) {
      this.#state = "closed"; // There is no way to refuse it.
    } else if (option === NBD_OPT.abort) {
      this.#reply(option, NBD_REP.ack);
      this.#state = "closed";
    } else if (this.#shuttingDown) {
      this.#refuse(option, NBD_REP.errShutdown);
    } else if (type !== NBD_REP.ack) {
      this.#refuse(option, type);
    } else if (option === NBD_OPT.list) {
      const { name, description } = this.#export;
      this.#reply(option, NBD_REP.server, encodeServerData(name, description));
      this.#reply(option, NBD_REP.ack);
    } else {
      this.#structuredReplies = true;
      this.#reply(option, NBD_REP.ack);
    }
  }

  #answer(option: number, data: Uint8Array): void {
    if (option === NBD_OPT.exportName) this.#answerExportName(data);
    else if (this.#shuttingDown) this.#refuse(option, NBD_REP.errShutdown);
    else if (option === NBD_OPT.info || option === NBD_OPT.go) this.#answerInfo(option, data);
    else this.#answerMetaContext(option, data);
  }

  #answerExportName(data: Uint8Array): void {
    if (this.#shuttingDown || !this.#isOffered(decodeExportName(data))) {
      this.#state = "closed";
      return;
    }
    this.#send(encodeExportNameReply(this.#export.sizeBytes, this.#flags(), this.#noZeroes));
    this.#state = "transmission";
  }

  #answerInfo(option: number, data: Uint8Array): void {
    const request = decodeInfoRequest(data);
    if (request === undefined) return this.#refuse(option, NBD_REP.errInvalid);
    if (!this.#isOffered(request.exportName)) return this.#refuse(option, NBD_REP.errUnknown);
    this.#sendInfo(option, request);
    this.#reply(option, NBD_REP.ack);
    if (option === NBD_OPT.go) this.#state = "transmission";
  }

  #sendInfo(option: number, request: InfoRequest): void {
    const { name, description, sizeBytes, blockSizes } = this.#export;
    const asked = new Set(request.infoTypes);
    this.#reply(option, NBD_REP.info, encodeInfoExport(sizeBytes, this.#flags()));
    if (asked.has(NBD_INFO.name)) {
      this.#reply(option, NBD_REP.info, encodeInfoText(NBD_INFO.name, name));
    }
    if (asked.has(NBD_INFO.description)) {
      this.#reply(option, NBD_REP.info, encodeInfoText(NBD_INFO.description, description));
    }
    if (asked.has(NBD_INFO.blockSize)) {
      this.#reply(option, NBD_REP.info, encodeInfoBlockSize(blockSizes));
    }
  }

  #answerMetaContext(option: number, data: Uint8Array): void {
    const isSet = option === NBD_OPT.setMetaContext;
    const request = decodeMetaContextRequest(data);
    if (request === undefined || !this.#structuredReplies) {
      return this.#refuse(option, NBD_REP.errInvalid);
    }
    if (!this.#isOffered(request.exportName)) return this.#refuse(option, NBD_REP.errUnknown);
    const found = isSet ? request.queries.includes(META_CONTEXT) : request.queries.length === 0 ||
      request.queries.some((query) => query === META_CONTEXT || query === "base:");
    if (found) {
      const contextId = isSet ? NBD_META_CONTEXT_ID : 0;
      this.#reply(option, NBD_REP.metaContext, encodeMetaContext(contextId, META_CONTEXT));
    }
    this.#reply(option, NBD_REP.ack);
    if (isSet) this.#metaContextSet = found;
  }

  #isOffered(exportName: string | undefined): boolean {
    return exportName === "" || exportName === this.#export.name;
  }

  #flags(): number {
    return this.#structuredReplies ? this.#export.structuredFlags : this.#export.flags;
  }

  #refuse(option: number, type: number): void {
    if (option === NBD_OPT.setMetaContext) this.#metaContextSet = false; // Replaced by nothing.
    this.#reply(option, type, encodeErrorText(REFUSAL.get(type) ?? ""));
  }

  #reply(option: number, type: number, data?: Uint8Array): void {
    this.#send(encodeOptionReply(option, type, data));
  }
}

const REFUSAL: ReadonlyMap<number, string> = new Map([
  [NBD_REP.errUnsup, "This server does not know the option."],
  [NBD_REP.errInvalid, "The option is malformed or out of place."],
  [NBD_REP.errUnknown, "There is no such export."],
  [NBD_REP.errShutdown, "The server is being shut down."],
  [NBD_REP.errTooBig, "The option is too long."],
]);

/** How to answer an option whose data is not looked at: ack stands for what it asks. */
function replyWithoutData(option: number, dataBytes: number): number {
  if (OPTIONS_WITH_DATA.has(option)) return NBD_REP.errTooBig;
  if (OPTIONS_WITHOUT_DATA.has(option) && dataBytes > 0) return NBD_REP.errInvalid;
  if (option === NBD_OPT.list || option === NBD_OPT.structuredReply) return NBD_REP.ack;
  return NBD_REP.errUnsup; // STARTTLS and EXTENDED_HEADERS as well.
}
