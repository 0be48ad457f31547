import { BlockList, isIP, isIPv4 } from 'node:net'
import { canonicalCidr, formatAddress, parseAddress, slotsOf } from '@prime-vpn/wireguard'
import { z } from 'zod'

const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const NAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`)

/** RFC 1123, lower case. */
export const Hostname = z.string().max(253).regex(NAME, 'must be a DNS name in lower case')

export type HostPort = { host: string; port: number }

/** Reads `name:port`, `1.2.3.4:port` or `[2001:db8::1]:port`; null when it is none. Addresses come out canonical. */
export function parseHostPort(text: string): HostPort | null {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9.-]{1,253})):([1-9]\d{0,4})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65535) return null
  if (match[1] !== undefined) return isIP(match[1]) === 6 ? { host: plainAddress(match[1]), port } : null
  const host = (match[2] ?? '').toLowerCase()
  const known = /^[\d.]+$/.test(host) ? isIPv4(host) : NAME.test(host)
  return known ? { host, port } : null
}

/** The inverse of `parseHostPort`. */
export const formatHostPort = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`

/** One spelling for each address (RFC 5952). @throws when it is no address */
export function plainAddress(text: string): string {
  const { family, value } = parseAddress(text)
  return formatAddress(family, value)
}

const isPlainAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes('%') && !/^::ffff:/i.test(text)

function ranges(...cidrs: string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [address = '', prefix] = cidr.split('/')
    list.addSubnet(address, Number(prefix), isIPv4(address) ? 'ipv4' : 'ipv6')
  }
  return (address) => list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

/** No host of its own: unspecified, link-local, multicast, reserved (RFC 6890). */
const isNoHost = ranges('0.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/128', 'fe80::/10', 'ff00::/8')
/** What a machine keeps to itself or its wire: tunnel addresses from here would not be routed. */
const isNoTunnelV4 = ranges('0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3')
/** Unique local and global unicast: all that can be a tunnel's (RFC 4291, section 2.4). */
const isTunnelV6 = ranges('fc00::/7', '2000::/3')
const networkAddress = (cidr: string): string => cidr.split('/')[0] ?? ''

export const Endpoint = z
  .string()
  .max(260)
  .refine((text) => parseHostPort(text) !== null, 'must be host:port, an IPv6 address in brackets')

export const IpAddress = z
  .string()
  .max(45)
  .refine(isPlainAddress, { error: 'must be an IPv4 or IPv6 address', abort: true })
  .refine((text) => !isNoHost(text), 'must be the address of one host')

function isSubnet(text: string, family: 4 | 6, from: number, to: number): boolean {
  const prefix = Number(text.split('/')[1])
  if (text.includes(':') !== (family === 6) || !(prefix >= from && prefix <= to)) return false
  try {
    canonicalCidr(text)
    slotsOf(text)
    return true
  } catch {
    return false
  }
}

export const SubnetV4 = z
  .string()
  .max(18)
  .refine((text) => isSubnet(text, 4, 16, 29), {
    error: 'must be an IPv4 network from /16 to /29 with clear host bits',
    abort: true,
  })
  .refine((text) => !isNoTunnelV4(networkAddress(text)), 'must be addresses that hosts can have')
export const SubnetV6 = z
  .string()
  .max(49)
  .refine((text) => isSubnet(text, 6, 48, 96), {
    error: 'must be an IPv6 network from /48 to /96 with clear host bits',
    abort: true,
  })
  .refine((text) => isTunnelV6(networkAddress(text)), 'must be unique local (fd00::/8) or global addresses')

/** A short list of words such as `port_forwarding`. */
export const Words = z
  .array(z.string().regex(/^[a-z0-9_]{1,40}$/, 'must be 1 to 40 of a-z, 0-9 and _'))
  .max(32)
  .refine((words) => new Set(words).size === words.length, 'must not name a word twice')

export const Tier = z.enum(['free', 'premium'])
