/**
 * Where something stands in a configuration file, and errors that say so. An error begins with
 * the words that hastd has always used, so that scripts which look for them still find them;
 * the place and the advice follow in parentheses.
 * @module
 */
import { ConfigError } from "../base/errors.ts";

/** `/etc/hast.conf:3:9` (line and column from 1) or `/etc/hast.toml: resource.data.local`. */
export type Place = string;

const SHOWN_CHARACTERS_MAX = 64; // Ours: enough to recognise a word, short enough for a log line.

/** Text out of a file as it may be shown: nothing that moves a cursor, nothing endless. */
export function shown(text: string): string {
  const safe = text.slice(0, SHOWN_CHARACTERS_MAX).replace(
    /[^\x20-\x7e]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
  return text.length > SHOWN_CHARACTERS_MAX ? `${safe}...` : safe;
}

/**
 * An error of the configuration at a known place.
 *
 * @param words What the original says, or our own where it says nothing.
 * @param detail What was found, what was expected, what to do.
 */
export function errorAt(words: string, place: Place, detail: string): ConfigError {
  return new ConfigError(`${words} (${place}: ${detail})`);
}
