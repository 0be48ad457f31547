import { parseAddress, type Address } from './address.ts'

/** `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`: some proxies add the port. Null for anything else. */
export function parseHop(text: string): Address | null {
  const hop = text.trim()
  const plain = parseAddress(hop)
  if (plain) return plain
  const bracketed = /^\[([^\]]+)\](?::\d{1,5})?$/.exec(hop)
  if (bracketed?.[1] !== undefined) return bracketed[1].includes(':') ? parseAddress(bracketed[1]) : null
  const withPort = /^(\d+\.\d+\.\d+\.\d+):\d{1,5}$/.exec(hop)
  return withPort?.[1] === undefined ? null : parseAddress(withPort[1])
}

/** The `for=` of each element of a `Forwarded` header (RFC 7239), left to right; an element without one is ''. */
function forwardedHops(header: string): string[] {
  return splitOutsideQuotes(header, ',').map((element) => {
    for (const pair of splitOutsideQuotes(element, ';')) {
      const [, name, value = ''] = /^\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(.*?)\s*$/.exec(pair) ?? []
      if (name?.toLowerCase() !== 'for') continue
      const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value)
      return quoted?.[1] === undefined ? value : quoted[1].replace(/\\(.)/g, '$1')
    }
    return ''
  })
}

function splitOutsideQuotes(text: string, separator: string): string[] {
  const parts: string[] = []
  let from = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (quoted && c === '\\') i++
    else if (c === '"') quoted = !quoted
    else if (c === separator && !quoted) {
      parts.push(text.slice(from, i))
      from = i + 1
    }
  }
  parts.push(text.slice(from))
  return parts
}

/**
 * The client behind trusted proxies: the right-most hop that is not trusted. Everything left of it was written by that
 * client and counts for nothing. A hop that cannot be read ends the walk at the proxy that passed it on.
 *
 * With both headers `X-Forwarded-For` decides: nearly every proxy appends to it, and passes an unknown `Forwarded` on
 * unchanged, so that a client could choose its address by sending one.
 */
export function clientBehind(
  peer: Address,
  headers: { xForwardedFor: string | undefined; forwarded: string | undefined },
  isTrusted: (address: Address) => boolean,
): Address {
  const hops =
    headers.xForwardedFor !== undefined
      ? headers.xForwardedFor.split(',')
      : headers.forwarded === undefined
        ? []
        : forwardedHops(headers.forwarded)
  let nearest = peer
  for (let i = hops.length - 1; i >= 0 && isTrusted(nearest); i--) {
    const hop = parseHop(hops[i] ?? '')
    if (!hop) break
    nearest = hop
  }
  return nearest
}
