/**
 * One resource in the live view of `hastctl watch`: a line that says how it stands, with a bar while
 * it synchronises.
 * @module
 */
import { strerror } from "../base/errno.ts";
import { humanize } from "../base/units.ts";
import type { StatusExtension, SyncReply } from "../protocol/control_extension.ts";
import type { StatusReply } from "../protocol/control_reply.ts";

const STATUS_WIDTH = 9;
const ROLE_WIDTH = 10;
const BAR_WIDTH_MIN = 10;
const BAR_WIDTH_MAX = 40;
/** What stands behind a bar at most: ` 100.0% 999MB/s 9999:59:59 left`. */
const BEHIND_BAR_WIDTH = 32;

/** The width for the names of `replies`. */
export function nameWidth(replies: readonly StatusReply[]): number {
  return Math.max(4, ...replies.map(({ resource }) => resource.length));
}

/**
 * The line of one resource.
 *
 * @param columns Width of the terminal, which the line does not exceed; undefined: no bar, no limit.
 */
export function watchLine(
  reply: StatusReply,
  width: number,
  columns: number | undefined,
): string {
  const name = reply.resource.padEnd(width);
  if (reply.error !== 0) return cut(`${name}  ERR${reply.error}`, columns);
  const status = (reply.worker?.status ?? "-").padEnd(STATUS_WIDTH);
  const begin = `${name}  ${reply.role.padEnd(ROLE_WIDTH)}${status} `;
  const room = columns === undefined ? undefined : columns - begin.length;
  return cut(begin + condition(reply, room), columns).trimEnd();
}

function cut(line: string, columns: number | undefined): string {
  return columns === undefined ? line : line.slice(0, columns);
}

function condition({ extension, worker }: StatusReply, room: number | undefined): string {
  if (extension === undefined) return dirtyText(worker?.figures.dirtyBytes);
  const { sync, localComponent } = extension;
  const parts: string[] = [];
  if (sync?.active) parts.push(room === undefined ? syncText(sync) : syncBar(sync, room));
  if (localComponent?.inService === false) {
    parts.push(`local component out of service: ${strerror(localComponent.errno)}`);
  }
  if (!sync?.active) parts.push(connectionText(extension));
  return parts.join("; ");
}

function dirtyText(dirtyBytes: number | undefined): string {
  return dirtyBytes === undefined ? "" : `${humanize(dirtyBytes)} dirty`;
}

function connectionText({ connection, staleBytes }: StatusExtension): string {
  const { state, reason, message } = connection;
  const stale = staleBytes === undefined || staleBytes === 0
    ? ""
    : `, ${humanize(staleBytes)} to copy`;
  switch (state) {
    case "none":
      return "";
    case "waiting":
      return `waiting for the primary${stale}`;
    case "connected":
      return `connected${stale}`;
    case "connecting":
      return `connecting${stale}${message === undefined ? "" : `: ${message}`}`;
    case "refused":
      return [`refused${stale}`, reason, message].filter((text) => text !== undefined).join(": ");
  }
}

function syncText(sync: SyncReply): string {
  const { direction, copiedBytes, totalBytes } = sync;
  const bytes = `${humanize(copiedBytes)} of ${humanize(totalBytes)}`;
  return `synchronising ${direction} ${percentText(sync)} ${bytes}${speedText(sync)}`;
}

function syncBar(sync: SyncReply, room: number): string {
  const width = Math.max(BAR_WIDTH_MIN, Math.min(BAR_WIDTH_MAX, room - BEHIND_BAR_WIDTH - 2));
  const filled = Math.floor(fraction(sync) * width);
  const bar = "#".repeat(filled) + "-".repeat(width - filled);
  return `[${bar}] ${percentText(sync).padStart(6)}${speedText(sync)}`;
}

/** 0..1; 1 only where all is copied. */
function fraction({ copiedBytes, totalBytes }: SyncReply): number {
  return totalBytes <= copiedBytes ? 1 : copiedBytes / totalBytes;
}

function percentText(sync: SyncReply): string {
  return `${(Math.floor(fraction(sync) * 1000) / 10).toFixed(1)}%`;
}

function speedText({ bytesPerSecond, secondsLeft }: SyncReply): string {
  const left = secondsLeft === undefined ? "" : ` ${durationText(secondsLeft)} left`;
  return ` ${humanize(bytesPerSecond)}/s${left}`;
}

/** `0:05`, `12:00`, `3:00:00`. */
function durationText(seconds: number): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const end = `${two(seconds % 60)}`;
  return hours === 0 ? `${minutes}:${end}` : `${hours}:${two(minutes % 60)}:${end}`;
}
