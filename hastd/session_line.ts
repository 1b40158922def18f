/**
 * The keys of two authenticated connections on their way between the processes and threads of this
 * node, which is by pipes only; and what each socket makes of them.
 * @module
 */
import { Buffer } from "node:buffer";
import type { ConnectionKeys, Session } from "../protocol/secure.ts";
import { type CipherName, RecordOpener, RecordSealer } from "../protocol/secure_record.ts";
import type { StreamCipher } from "./stream_socket.ts";

/** Keys as hexadecimal digits. */
export interface SessionLine {
  cipher: CipherName;
  requests: KeysLine;
  replies: KeysLine;
}

interface KeysLine {
  toSecondary: string;
  toPrimary: string;
}

/** What the sockets of both connections are given. */
export interface LinkCiphers {
  readonly requests: StreamCipher;
  readonly replies: StreamCipher;
}

/** A session as plain data. */
export function sessionLine({ cipher, requests, replies }: Session): SessionLine {
  const keys = ({ toSecondary, toPrimary }: ConnectionKeys): KeysLine => ({
    toSecondary: Buffer.from(toSecondary).toString("hex"),
    toPrimary: Buffer.from(toPrimary).toString("hex"),
  });
  return { cipher, requests: keys(requests), replies: keys(replies) };
}

/** @param answerRecords Records of connection 1 that were opened before: the handshake's answer. */
export function primaryCiphers(line: SessionLine, answerRecords: number): LinkCiphers {
  const { cipher, requests, replies } = line;
  return {
    requests: {
      sealer: new RecordSealer(cipher, keyOf(requests.toSecondary)),
      opener: new RecordOpener(cipher, keyOf(requests.toPrimary), answerRecords),
    },
    replies: {
      sealer: new RecordSealer(cipher, keyOf(replies.toSecondary)),
      opener: new RecordOpener(cipher, keyOf(replies.toPrimary)),
    },
  };
}

export function secondaryCiphers({ cipher, requests, replies }: SessionLine): LinkCiphers {
  return {
    requests: {
      sealer: new RecordSealer(cipher, keyOf(requests.toPrimary)),
      opener: new RecordOpener(cipher, keyOf(requests.toSecondary)),
    },
    replies: {
      sealer: new RecordSealer(cipher, keyOf(replies.toPrimary)),
      opener: new RecordOpener(cipher, keyOf(replies.toSecondary)),
    },
  };
}

function keyOf(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits, "hex"));
}
