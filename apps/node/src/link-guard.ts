const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Deeper than any message of the protocol (its deepest has five levels). */
const MAX_DEPTH = 16
/** The shortest object of the protocol is longer than this; a text of mostly brackets would fill the memory. */
const BYTES_PER_OBJECT = 16
const FREE_OBJECTS = 1024

/**
 * Looks at JSON text before it is parsed: false when it nests deeper or holds more objects and lists for its length
 * than any real message. 32 MiB of `[[],[]...` would become half a gigabyte of objects.
 */
export function looksSane(text: Uint8Array): boolean {
  let depth = 0
  let opened = 0
  const allowed = FREE_OBJECTS + text.length / BYTES_PER_OBJECT
  for (let i = 0; i < text.length; i++) {
    const byte = text[i]
    if (byte === QUOTE) i = endOfString(text, i)
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (++depth > MAX_DEPTH || ++opened > allowed) return false
    } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--
  }
  return true
}

/** The place of the quote that ends the string begun at `start`; the end of the text when there is none. */
function endOfString(text: Uint8Array, start: number): number {
  let i = start + 1
  while (i < text.length && text[i] !== QUOTE) i += text[i] === BACKSLASH ? 2 : 1
  return i
}
