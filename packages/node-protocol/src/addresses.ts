import { isIPv4, isIPv6 } from 'node:net'

/**
 * The one spelling of a prefix, so that two spellings of an address never count as two addresses.
 * @returns e.g. `fd00::2/128`, or null when it is no address with a fitting length
 */
export function canonicalPrefix(text: string): string | null {
  const [address = '', length = '', ...rest] = text.split('/')
  if (rest.length > 0 || !/^\d{1,3}$/.test(length)) return null
  const bits = Number(length)
  if (isIPv4(address)) return bits <= 32 ? `${address}/${bits}` : null
  if (!isIPv6(address) || bits > 128) return null
  const host = canonicalAddress(address)
  return host ? `${host}/${bits}` : null
}

/** The one spelling of an address (RFC 5952 for IPv6), or null when it is none; a zone makes it none. */
export function canonicalAddress(text: string): string | null {
  if (isIPv4(text)) return text
  if (!isIPv6(text)) return null
  return URL.parse(`http://[${text}]/`)?.hostname.slice(1, -1) ?? null
}

/** Are these the same prefixes, whatever their order and spelling? */
export function samePrefixes(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  if (a.every((prefix, index) => prefix === b[index])) return true
  const canonical = (list: readonly string[]) => list.map((prefix) => canonicalPrefix(prefix) ?? prefix).toSorted()
  const [left, right] = [canonical(a), canonical(b)]
  return left.every((prefix, index) => prefix === right[index])
}
