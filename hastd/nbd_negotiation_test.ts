import { assert, assertEquals } from "@std/assert";
import { NBD_OPT, NBD_REP } from "../protocol/nbd.ts";
import {
  clientFlags,
  infoData,
  join,
  metaData,
  option,
  u16,
  u32,
  u64,
  WireReader,
} from "../tests/support/nbd_wire.ts";
import {
  NBD_OPTION_COUNT_MAX,
  NBD_OPTION_DATA_BYTES_MAX,
  NBD_OPTION_DISCARD_BYTES_MAX,
  type NbdExport,
  NbdNegotiation,
  type NegotiationState,
} from "./nbd_negotiation.ts";

const EXPORT: NbdExport = {
  name: "disk",
  description: "A disk",
  sizeBytes: 2 ** 40,
  flags: 0x0d6d,
  structuredFlags: 0x0ded,
  blockSizes: { minimumBytes: 512, preferredBytes: 4096, maximumBytes: 2 ** 25 },
};
const SIZE = u64(2 ** 40);

interface Run {
  negotiation: NbdNegotiation;
  sent: Uint8Array;
  leftBytes: number;
}

/** Feeds `input` cut into pieces of `pieceBytes`, as a connection does. */
function feed(
  input: Uint8Array,
  pieceBytes = input.length,
  prepare?: (n: NbdNegotiation) => void,
): Run {
  const sent: Uint8Array[] = [];
  const negotiation = new NbdNegotiation(EXPORT, (bytes) => sent.push(bytes));
  prepare?.(negotiation);
  let startBytes = 0;
  for (let endBytes = 0; endBytes < input.length;) {
    endBytes = Math.min(input.length, endBytes + pieceBytes);
    startBytes += negotiation.receive(input.subarray(startBytes, endBytes));
  }
  return { negotiation, sent: join(...sent), leftBytes: input.length - startBytes };
}

/** Types of the replies to `options`, and the state they leave. */
function outcome(...options: Uint8Array[]): { types: number[]; state: NegotiationState } {
  const run = feed(join(clientFlags(3), ...options));
  const reader = new WireReader();
  reader.push(run.sent);
  const types = reader.optionReplies().map(([, type]) => type);
  assertEquals(reader.leftBytes, 0);
  return { types, state: run.negotiation.state };
}

const STRUCTURED = option(NBD_OPT.structuredReply);
const OK = NBD_REP.ack;
const CONTEXT = NBD_REP.metaContext;
const BASE = "base:allocation";

const TABLE: { title: string; options: Uint8Array[]; types: number[]; state: NegotiationState }[] =
  [
    { title: "nothing", options: [], types: [], state: "option" },
    { title: "LIST", options: [option(3)], types: [NBD_REP.server, OK], state: "option" },
    {
      title: "LIST with data",
      options: [option(3, "x")],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    { title: "ABORT", options: [option(2)], types: [OK], state: "closed" },
    { title: "ABORT with data", options: [option(2, "bye")], types: [OK], state: "closed" },
    { title: "STARTTLS", options: [option(5)], types: [NBD_REP.errUnsup], state: "option" },
    {
      title: "STARTTLS with data",
      options: [option(5, "x")],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "EXTENDED_HEADERS",
      options: [option(11)],
      types: [NBD_REP.errUnsup],
      state: "option",
    },
    { title: "STRUCTURED_REPLY", options: [STRUCTURED], types: [OK], state: "option" },
    {
      title: "STRUCTURED_REPLY with data",
      options: [option(8, "x")],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "STRUCTURED_REPLY twice",
      options: [STRUCTURED, STRUCTURED],
      types: [OK, OK],
      state: "option",
    },
    { title: "option 4", options: [option(4, "x")], types: [NBD_REP.errUnsup], state: "option" },
    { title: "option 0", options: [option(0)], types: [NBD_REP.errUnsup], state: "option" },
    {
      title: "option 2^32 - 1",
      options: [option(0xffffffff)],
      types: [NBD_REP.errUnsup],
      state: "option",
    },
    { title: "EXPORT_NAME of another", options: [option(1, "tape")], types: [], state: "closed" },
    { title: "EXPORT_NAME with NUL", options: [option(1, [0])], types: [], state: "closed" },
    {
      title: "EXPORT_NAME too long",
      options: [option(1, "x".repeat(NBD_OPTION_DATA_BYTES_MAX + 1))],
      types: [],
      state: "closed",
    },
    {
      title: "INFO",
      options: [option(6, infoData("disk"))],
      types: [NBD_REP.info, OK],
      state: "option",
    },
    {
      title: "INFO of the default",
      options: [option(6, infoData(""))],
      types: [NBD_REP.info, OK],
      state: "option",
    },
    {
      title: "INFO of all",
      options: [option(6, infoData("", [1, 2, 3, 9]))],
      types: [3, 3, 3, 3, OK],
      state: "option",
    },
    {
      title: "INFO of another",
      options: [option(6, infoData("tape"))],
      types: [NBD_REP.errUnknown],
      state: "option",
    },
    {
      title: "INFO without data",
      options: [option(6)],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "INFO with a long name",
      options: [option(6, infoData("x".repeat(4097)))],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "INFO too long",
      options: [option(6, infoData("", new Array(9000).fill(3)))],
      types: [NBD_REP.errTooBig],
      state: "option",
    },
    {
      title: "GO",
      options: [option(7, infoData("disk"))],
      types: [NBD_REP.info, OK],
      state: "transmission",
    },
    {
      title: "GO with sizes",
      options: [option(7, infoData("disk", [3]))],
      types: [3, 3, OK],
      state: "transmission",
    },
    {
      title: "GO to another",
      options: [option(7, infoData("disk1"))],
      types: [NBD_REP.errUnknown],
      state: "option",
    },
    {
      title: "GO, malformed",
      options: [option(7, [0, 0, 0, 9, 0])],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT too early",
      options: [option(9, metaData("disk"))],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT",
      options: [STRUCTURED, option(9, metaData("disk"))],
      types: [OK, CONTEXT, OK],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT base:",
      options: [STRUCTURED, option(9, metaData("", ["base:", BASE]))],
      types: [OK, CONTEXT, OK],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT of others",
      options: [STRUCTURED, option(9, metaData("", ["qemu:", "base:x"]))],
      types: [OK, OK],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT of another",
      options: [STRUCTURED, option(9, metaData("tape"))],
      types: [OK, NBD_REP.errUnknown],
      state: "option",
    },
    {
      title: "LIST_META_CONTEXT, malformed",
      options: [STRUCTURED, option(9, [0])],
      types: [OK, NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "SET_META_CONTEXT too early",
      options: [option(10, metaData("disk", [BASE]))],
      types: [NBD_REP.errInvalid],
      state: "option",
    },
    {
      title: "SET_META_CONTEXT",
      options: [STRUCTURED, option(10, metaData("disk", ["x-y:z", BASE]))],
      types: [OK, CONTEXT, OK],
      state: "option",
    },
    {
      title: "SET_META_CONTEXT base:",
      options: [STRUCTURED, option(10, metaData("disk", ["base:"]))],
      types: [OK, OK],
      state: "option",
    },
    {
      title: "SET_META_CONTEXT of none",
      options: [STRUCTURED, option(10, metaData("disk"))],
      types: [OK, OK],
      state: "option",
    },
    {
      title: "SET_META_CONTEXT too long",
      options: [STRUCTURED, option(10, metaData("", new Array(5000).fill(BASE)))],
      types: [OK, NBD_REP.errTooBig],
      state: "option",
    },
  ];

for (const { title, options, types, state } of TABLE) {
  Deno.test(`NbdNegotiation answers ${title}`, () => {
    assertEquals(outcome(...options), { types, state });
  });
}

Deno.test("NbdNegotiation goes on after every refusal", () => {
  for (const { options, state } of TABLE) {
    if (state !== "option") continue;
    const { types, state: last } = outcome(...options, option(7, infoData("")));
    assertEquals(types.at(-1), NBD_REP.ack);
    assertEquals(last, "transmission");
  }
});

Deno.test("NbdNegotiation answers EXPORT_NAME as each kind of client expects", () => {
  for (const name of ["", "disk"]) {
    for (const flags of [0, 1]) {
      const run = feed(join(clientFlags(flags), option(1, name)));
      assertEquals(run.sent, join(SIZE, u16(0x0d6d), new Uint8Array(124)));
      assertEquals(run.negotiation.state, "transmission");
    }
    const run = feed(join(clientFlags(3), option(1, name)));
    assertEquals(run.sent, join(SIZE, u16(0x0d6d)));
  }
});

Deno.test("NbdNegotiation tells size, flags, name, description and sizes", () => {
  const run = feed(join(clientFlags(3), STRUCTURED, option(7, infoData("", [3, 2, 1]))));
  const reader = new WireReader();
  reader.push(run.sent);
  assertEquals(reader.optionReplies().map(([, , data]) => data), [
    new Uint8Array(0),
    join(u16(0), SIZE, u16(0x0ded)),
    join(u16(1), "disk"),
    join(u16(2), "A disk"),
    join(u16(3), u32(512), u32(4096), u32(2 ** 25)),
    new Uint8Array(0),
  ]);
});

Deno.test("NbdNegotiation drops a client with unknown flags or a wrong magic number", () => {
  for (const flags of [4, 7, 0x80000003]) {
    assertEquals(feed(clientFlags(flags)).negotiation.state, "closed");
  }
  const bad = option(7, infoData(""));
  bad[0] = 0;
  const run = feed(join(clientFlags(3), bad));
  assertEquals([run.negotiation.state, run.sent.length], ["closed", 0]);
});

Deno.test("NbdNegotiation bounds the options and what they announce", () => {
  const many = new Array<Uint8Array>(NBD_OPTION_COUNT_MAX).fill(option(99));
  assertEquals(outcome(...many).state, "option");
  assertEquals(outcome(...many, option(99)).state, "closed");
  const longest = join("IHAVEOPT", u32(99), u32(NBD_OPTION_DISCARD_BYTES_MAX));
  assertEquals(outcome(longest), { types: [], state: "discard" });
  assertEquals(outcome(join(longest, new Uint8Array(NBD_OPTION_DISCARD_BYTES_MAX))), {
    types: [NBD_REP.errUnsup],
    state: "option",
  });
  const tooLong = join("IHAVEOPT", u32(99), u32(NBD_OPTION_DISCARD_BYTES_MAX + 1));
  assertEquals(outcome(tooLong).state, "closed");
});

Deno.test("NbdNegotiation forgets the context when a later SET_META_CONTEXT fails", () => {
  const chosen = option(10, metaData("", [BASE]));
  const setAfter = (...more: Uint8Array[]) =>
    feed(join(clientFlags(3), STRUCTURED, chosen, ...more)).negotiation.metaContextSet;
  assertEquals(setAfter(), true);
  assertEquals(setAfter(option(9, metaData("", ["x:"]))), true);
  assertEquals(setAfter(option(10, metaData(""))), false);
  assertEquals(setAfter(option(10, metaData("tape", [BASE]))), false);
  assertEquals(setAfter(option(10, [1])), false);
  assertEquals(setAfter(option(10, new Uint8Array(NBD_OPTION_DATA_BYTES_MAX + 1))), false);
});

Deno.test("NbdNegotiation in shutdown answers everything but ABORT with ERR_SHUTDOWN", () => {
  const late = (bytes: Uint8Array) => {
    const run = feed(join(clientFlags(3), bytes), undefined, (n) => n.shutdown());
    const reader = new WireReader();
    reader.push(run.sent);
    return [reader.optionReplies().map(([, type]) => type), run.negotiation.state];
  };
  for (const number of [3, 5, 6, 7, 8, 9, 10, 99]) {
    assertEquals(late(option(number)), [[NBD_REP.errShutdown], "option"], `option ${number}`);
  }
  assertEquals(late(option(2)), [[NBD_REP.ack], "closed"]);
  assertEquals(late(option(1, "disk")), [[], "closed"]);
});

const SESSION = join(
  clientFlags(3),
  option(3),
  option(99, "unknown data"),
  STRUCTURED,
  option(9, metaData("disk", ["base:"])),
  option(10, metaData("disk", [BASE])),
  option(6, infoData("disk", [1, 2, 3])),
  option(7, infoData("disk", [3])),
);

Deno.test("NbdNegotiation does not care how its input is cut", () => {
  const whole = feed(SESSION);
  assertEquals(whole.negotiation.state, "transmission");
  for (let pieceBytes = 1; pieceBytes < SESSION.length; pieceBytes++) {
    const cut = feed(SESSION, pieceBytes);
    assertEquals(cut.sent, whole.sent, `pieces of ${pieceBytes}`);
    assertEquals(cut.negotiation.state, "transmission");
  }
});

Deno.test("NbdNegotiation waits for more at every truncation", () => {
  const whole = feed(SESSION).sent;
  for (let length = 0; length < SESSION.length; length++) {
    const run = feed(SESSION.subarray(0, length));
    assert(run.negotiation.state !== "transmission" && run.negotiation.state !== "closed");
    assertEquals(run.sent, whole.subarray(0, run.sent.length), `${length} bytes`);
    assert(run.sent.length < whole.length);
  }
});

Deno.test("NbdNegotiation leaves what follows the negotiation alone", () => {
  const run = feed(join(SESSION, "request"));
  assertEquals(run.leftBytes, 7);
});

Deno.test("NbdNegotiation survives random bytes", () => {
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647);
  for (let round = 0; round < 3000; round++) {
    const bytes = Uint8Array.from({ length: random() % 200 }, () => random() & 255);
    const changed = SESSION.slice();
    for (let change = 0; change < 3; change++) changed[random() % changed.length] = random() & 255;
    for (const input of [bytes, join(clientFlags(3), bytes), changed]) {
      const run = feed(input, 1 + random() % 64);
      assert(run.leftBytes <= input.length);
      assert(run.sent.length < 4096);
    }
  }
});
