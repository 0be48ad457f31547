import { isIPv4, isIPv6 } from 'node:net'
import { InvalidValue } from './errors.ts'

/** An address with the length of its network; `value` is the address as one number. */
export type Cidr = { family: 4 | 6; value: bigint; prefix: number }

const BITS = { 4: 32, 6: 128 } as const
const MAPPED = 0xffffn

/** @throws {InvalidValue} not an IPv4 or IPv6 address (no zone, no leading zeros) */
export function parseAddress(text: string, field = 'address'): { family: 4 | 6; value: bigint } {
  if (isIPv4(text)) return { family: 4, value: parseV4(text) }
  // A zone ("%eth0") means something on one machine only and may hold any character.
  if (isIPv6(text) && !text.includes('%')) return { family: 6, value: parseV6(text) }
  throw new InvalidValue(field, 'must be an IPv4 or IPv6 address')
}

/** Reads `address/length`; host bits may be set. @throws {InvalidValue} */
export function parseCidr(text: string, field = 'network'): Cidr {
  const match = /^([0-9a-fA-F:.]{2,45})\/(0|[1-9]\d{0,2})$/.exec(text)
  const [, address = '', length = ''] = match ?? []
  if (!match) throw new InvalidValue(field, 'must be address/length')
  const { family, value } = parseAddress(address, field)
  const prefix = Number(length)
  if (prefix > BITS[family]) throw new InvalidValue(field, `length must be at most ${BITS[family]}`)
  return { family, value, prefix }
}

/** The canonical text: dotted for IPv4, RFC 5952 for IPv6. */
export const formatAddress = (family: 4 | 6, value: bigint): string =>
  family === 4 ? formatV4(value) : formatV6(value)

export const formatCidr = (c: Cidr): string => `${formatAddress(c.family, c.value)}/${c.prefix}`

/** The same network with the host bits cleared. */
export const networkOf = (c: Cidr): Cidr => ({ ...c, value: c.value & ~hostMask(c) })

/** True when two networks share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  if (a.family !== b.family) return false
  const prefix = Math.min(a.prefix, b.prefix)
  return networkOf({ ...a, prefix }).value === networkOf({ ...b, prefix }).value
}

/** Two spellings of one address or network become one text. @throws {InvalidValue} */
export const canonicalCidr = (text: string, field?: string): string => formatCidr(parseCidr(text, field))

const hostMask = (c: Cidr): bigint => (1n << BigInt(BITS[c.family] - c.prefix)) - 1n

const parseV4 = (text: string): bigint => BigInt(text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0))

const formatV4 = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.')

function parseV6(text: string): bigint {
  const tail = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text)
  if (tail) {
    const low = parseV4(tail[2] ?? '')
    return parseV6(`${tail[1]}${(low >> 16n).toString(16)}:${(low & 0xffffn).toString(16)}`)
  }
  const [before = '', after] = text.split('::')
  const head = before === '' ? [] : before.split(':')
  const rest = after === undefined || after === '' ? [] : after.split(':')
  const zeros = Array.from({ length: 8 - head.length - rest.length }, () => '0')
  return [...head, ...zeros, ...rest].reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n)
}

function formatV6(value: bigint): string {
  if (value >> 32n === MAPPED) return `::ffff:${formatV4(value & 0xffffffffn)}` // RFC 5952, section 5
  const groups = Array.from({ length: 8 }, (_, i) => ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  const { start, length } = longestZeros(groups)
  if (length < 2) return groups.join(':') // a single zero group is not shortened: RFC 5952, section 4.2.2
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`
}

/** The first of the longest runs of zero groups. */
function longestZeros(groups: string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  for (let i = 0; i < groups.length; i++) {
    let end = i
    while (groups[end] === '0') end++
    if (end - i > best.length) best = { start: i, length: end - i }
    i = Math.max(i, end)
  }
  return best
}
