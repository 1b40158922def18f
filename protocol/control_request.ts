/**
 * Control requests: what hastctl asks of hastd. One request per connection, each message a frame
 * of version 2 without data. The answers are in protocol/control_reply.ts.
 *
 * Additions, which the original answers with error 4 or does not look at:
 *
 *   cmd 2, extended uint8 1    status with the fields of protocol/control_extension.ts
 *   cmd 3                      stop: error 0 and daemonpid at once, end of the connection at the end
 *   cmd 128, configpath        reload: per resource `action<i>`, or error and message
 *   cmd 129                    attach: per resource `attached<i>` uint8 and, on failure, `errno<i>`
 *
 * Source: control.md, "Control socket"; hastctl(8); docs/control_protocol.md.
 * @module
 */
import { Nv } from "./nv.ts";

/**
 * `cmd` of a request. FreeBSD's newest hastctl has `stop` too; 3 is the next free number there, but
 * what it really sends is not known.
 */
export const CONTROL_COMMAND = {
  setRole: 1,
  status: 2,
  stop: 3,
  reload: 128,
  attach: 129,
} as const;
/** `role` of a request. */
export const CONTROL_ROLE = { init: 1, primary: 2, secondary: 3 } as const;
export type ControlRole = keyof typeof CONTROL_ROLE;

/**
 * Error numbers of answers, for the whole request or for one resource. Those of additions are
 * exit codes of sysexits(3), as hastctl exits with them.
 */
export const CONTROL_ERROR = {
  noEntry: 1,
  invalid: 2,
  noMemory: 3,
  unimplemented: 4,
  /** No worker runs that could do it, or it does not answer. */
  unavailable: 69,
  ioError: 74,
} as const;

/** Most resources in one request or answer: what fits in a block. */
export const CONTROL_RESOURCES_MAX = 2000;
/** As `resource0` alone it means every resource of the configuration. */
const ALL = "all";

type Resources = readonly string[] | "all";

/** A request; `resources` has at least one name. */
export type ControlRequest =
  | { command: "role"; role: ControlRole; resources: Resources }
  | { command: "status"; extended: boolean; resources: Resources }
  | { command: "attach"; resources: Resources }
  | { command: "stop" }
  /** `configPath`: the file that was checked; undefined where the client does not say. */
  | { command: "reload"; configPath: string | undefined };

/** A request that cannot be served. */
export interface RefusedRequest {
  command: "refused";
  /** What to answer, a {@link CONTROL_ERROR}; undefined: close without an answer. */
  error: number | undefined;
  /** For the log. */
  message: string;
}

/** Encodes a request as hastctl does. */
export function encodeControlRequest(request: ControlRequest): Nv {
  const nv = new Nv();
  switch (request.command) {
    case "role":
      nv.addU8("cmd", CONTROL_COMMAND.setRole).addU8("role", CONTROL_ROLE[request.role]);
      break;
    case "status":
      nv.addU8("cmd", CONTROL_COMMAND.status);
      if (request.extended) nv.addU8("extended", 1);
      break;
    case "reload":
      nv.addU8("cmd", CONTROL_COMMAND.reload);
      if (request.configPath !== undefined) nv.addString("configpath", request.configPath);
      break;
    default:
      nv.addU8("cmd", CONTROL_COMMAND[request.command]);
  }
  // The original refuses any request without a resource in the same words as a malformed one.
  const resources = "resources" in request ? request.resources : ALL;
  const names = resources === ALL ? [ALL] : resources;
  names.forEach((name, index) => nv.addString(`resource${index}`, name));
  return nv;
}

/**
 * Decodes a request from anybody who may open the socket.
 *
 * Names are taken up to the first number that is missing. `all` counts only as the first name; then
 * the others are not looked at.
 */
export function decodeControlRequest(nv: Nv): ControlRequest | RefusedRequest {
  const command = nv.u8("cmd") ?? 0;
  if (command === 0) return refused(undefined, "Control header is missing 'cmd' field.");
  if (command === CONTROL_COMMAND.stop) return { command: "stop" };
  if (command === CONTROL_COMMAND.reload) {
    return { command: "reload", configPath: nv.string("configpath") };
  }
  const resources = requestedResources(nv);
  if (resources.length === 0) {
    return refused(CONTROL_ERROR.invalid, "Control header is missing 'resource0' field.");
  }
  if (resources.length > CONTROL_RESOURCES_MAX) {
    const message = `Control header has more than ${CONTROL_RESOURCES_MAX} resources.`;
    return refused(CONTROL_ERROR.invalid, message);
  }
  return decodeForResources(nv, command, resources);
}

function decodeForResources(
  nv: Nv,
  command: number,
  resources: Resources,
): ControlRequest | RefusedRequest {
  switch (command) {
    case CONTROL_COMMAND.status:
      return { command: "status", extended: nv.u8("extended") === 1, resources };
    case CONTROL_COMMAND.attach:
      return { command: "attach", resources };
    case CONTROL_COMMAND.setRole:
      break;
    default:
      return refused(CONTROL_ERROR.unimplemented, `Invalid command received (${command}).`);
  }
  const code = nv.u8("role") ?? 0;
  const role = roleOf(code);
  if (role !== undefined) return { command: "role", role, resources };
  return refused(CONTROL_ERROR.invalid, `Invalid role received (${code}).`);
}

function refused(error: number | undefined, message: string): RefusedRequest {
  return { command: "refused", error, message };
}

function requestedResources(nv: Nv): Resources {
  const names: string[] = [];
  while (names.length <= CONTROL_RESOURCES_MAX) {
    const name = nv.string(`resource${names.length}`);
    if (name === undefined) break;
    if (name === ALL && names.length === 0) return ALL;
    names.push(name);
  }
  return names;
}

function roleOf(code: number): ControlRole | undefined {
  switch (code) {
    case CONTROL_ROLE.init:
      return "init";
    case CONTROL_ROLE.primary:
      return "primary";
    case CONTROL_ROLE.secondary:
      return "secondary";
    default:
      return undefined;
  }
}
