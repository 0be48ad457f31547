import { isIPv6 } from 'node:net'

/**
 * An IP address as four 32-bit words, so that one form serves look-ups in both families. IPv4 sits in the last word;
 * an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) is that IPv4 address.
 */
export type Address = { readonly family: 4 | 6; readonly words: Words }
export type Words = readonly [number, number, number, number]

const MAPPED = 0xffff

/** Four decimal parts without leading zeros; -1 for anything else. Runs for every forwarded request, hence by hand. */
function parseV4(text: string): number {
  if (text.length > 15) return -1
  let word = 0
  let part = 0
  let digits = 0
  let dots = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 46) {
      if (digits === 0 || ++dots > 3) return -1
      word = word * 256 + part
      part = 0
      digits = 0
    } else {
      if (code < 48 || code > 57 || (digits > 0 && part === 0)) return -1
      part = part * 10 + code - 48
      digits++
      if (part > 255) return -1
    }
  }
  return dots === 3 && digits > 0 ? word * 256 + part : -1
}

function parseV6(text: string): Words {
  let rest = text
  const dotted = /(\d+\.\d+\.\d+\.\d+)$/.exec(text)?.[1]
  if (dotted !== undefined) {
    const word = parseV4(dotted)
    rest = `${text.slice(0, -dotted.length)}${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`
  }
  const [left = '', right] = rest.split('::')
  const head = left === '' ? [] : left.split(':')
  const tail = right === undefined || right === '' ? [] : right.split(':')
  const gap = Array.from({ length: 8 - head.length - tail.length }, () => '0')
  const groups = [...head, ...gap, ...tail].map((group) => Number.parseInt(group, 16))
  const word = (i: number): number => (groups[2 * i] ?? 0) * 0x10000 + (groups[2 * i + 1] ?? 0)
  return [word(0), word(1), word(2), word(3)]
}

/** Reads an address as it is written in a header or by an operator; null for anything else, zone ids included. */
export function parseAddress(text: string): Address | null {
  const v4 = parseV4(text)
  if (v4 >= 0) return { family: 4, words: [0, 0, MAPPED, v4] }
  // 45 characters is the longest spelling; isIPv6 alone would take a zone id (`fe80::1%eth0`).
  if (text.length > 45 || text.includes('%') || !isIPv6(text)) return null
  const words = parseV6(text)
  const mapped = words[0] === 0 && words[1] === 0 && words[2] === MAPPED
  return { family: mapped ? 4 : 6, words }
}

const dotted = (word: number): string => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255].join('.')

/** The text of an address: dotted for IPv4, RFC 5952 for IPv6. */
export function addressText({ family, words }: Address): string {
  if (family === 4) return dotted(words[3])
  const groups = words.flatMap((word) => [word >>> 16, word & 0xffff])
  const zeros = longestZeros(groups)
  const hex = (part: number[]): string => part.map((group) => group.toString(16)).join(':')
  if (zeros.length < 2) return hex(groups)
  return `${hex(groups.slice(0, zeros.start))}::${hex(groups.slice(zeros.start + zeros.length))}`
}

function longestZeros(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  for (let start = 0; start < groups.length; start++) {
    let length = 0
    while (groups[start + length] === 0) length++
    if (length > best.length) best = { start, length }
  }
  return best
}

/** A block of addresses. `length` counts bits of its own family: 0-32 or 0-128. */
export type Network = { readonly family: 4 | 6; readonly words: Words; readonly length: number }

/** The bits of `word` that belong to a prefix of which `bits` (any number) reach into this word. */
const masked = (word: number, bits: number): number =>
  bits <= 0 ? 0 : bits >= 32 ? word : (word & (0xffffffff << (32 - bits))) >>> 0

/** The block of `length` bits that holds `address`; host bits are cleared. */
export function networkOf({ family, words }: Address, length: number): Network {
  const bits = family === 4 ? length + 96 : length
  return {
    family,
    length,
    words: [
      masked(words[0], bits),
      masked(words[1], bits - 32),
      masked(words[2], bits - 64),
      masked(words[3], bits - 96),
    ],
  }
}

/** Reads an address or a CIDR; host bits are cleared. `::ffff:10.0.0.0/104` is `10.0.0.0/8`. Null for anything else. */
export function parseNetwork(text: string): Network | null {
  const [host = '', suffix, rest] = text.trim().split('/')
  const address = parseAddress(host)
  if (!address || rest !== undefined) return null
  const full = address.family === 4 ? 32 : 128
  if (suffix === undefined) return networkOf(address, full)
  if (!/^\d{1,3}$/.test(suffix)) return null
  const written = Number(suffix)
  const length = address.family === 4 && host.includes(':') ? written - 96 : written
  return length >= 0 && length <= full ? networkOf(address, length) : null
}

/** `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/48`: a whole-length block reads as its address. */
export function networkText(network: Network): string {
  const text = addressText(network)
  return network.length === (network.family === 4 ? 32 : 128) ? text : `${text}/${network.length}`
}

/** True when every address of `inner` is in `outer`. */
export function contains(outer: Network, inner: Network): boolean {
  if (outer.family !== inner.family || outer.length > inner.length) return false
  const cut = networkOf(inner, outer.length)
  return cut.words.every((word, i) => word === outer.words[i])
}
