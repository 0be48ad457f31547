import { canonicalCidr, formatAddress, parseAddress } from './addresses.ts'
import { InvalidValue } from './errors.ts'
import { isPublicKey, isSecretKey } from './keys.ts'

export type Endpoint = { address: string; port: number }

export type ClientConfig = {
  /** Null when the key was made on the device and never left it. */
  privateKey: string | null
  /** The device's addresses inside the tunnel, each with a length. */
  addresses: string[]
  /** Addresses of resolvers, may be empty. */
  dns: string[]
  /** The server's key. */
  publicKey: string
  presharedKey: string | null
  endpoint: Endpoint
  allowedIps: string[]
  /** Bytes, 1280..9000. */
  mtu?: number | undefined
  /** Seconds between keepalives, 1..65535. */
  keepalive?: number | undefined
}

export const NO_PRIVATE_KEY_LINE = '# PrivateKey = (the key on your device)'

/**
 * The text of a configuration for wg-quick and the WireGuard apps. Every value is parsed and written anew, so nothing
 * that somebody typed can add a line, a comment or a command; there is no PostUp and no SaveConfig.
 * @throws {InvalidValue} naming the field that is not what it should be
 */
export function clientConfig(c: ClientConfig): string {
  const lines = [
    '[Interface]',
    c.privateKey === null ? NO_PRIVATE_KEY_LINE : `PrivateKey = ${secret(c.privateKey, 'privateKey')}`,
    `Address = ${networks(c.addresses, 'addresses')}`,
    ...(c.dns.length > 0 ? [`DNS = ${c.dns.map((a) => address(a, 'dns')).join(', ')}`] : []),
    ...(c.mtu === undefined ? [] : [`MTU = ${whole(c.mtu, 1280, 9000, 'mtu')}`]),
    '',
    '[Peer]',
    `PublicKey = ${publicKey(c.publicKey)}`,
    ...(c.presharedKey === null ? [] : [`PresharedKey = ${secret(c.presharedKey, 'presharedKey')}`]),
    `Endpoint = ${formatEndpoint(c.endpoint)}`,
    `AllowedIPs = ${networks(c.allowedIps, 'allowedIps')}`,
    ...(c.keepalive === undefined ? [] : [`PersistentKeepalive = ${whole(c.keepalive, 1, 65535, 'keepalive')}`]),
  ]
  return `${lines.join('\n')}\n`
}

/** `1.2.3.4:51820` or `[2001:db8::1]:51820`. @throws {InvalidValue} not an address (names are not resolved here) */
export function formatEndpoint(e: Endpoint): string {
  const text = address(e.address, 'endpoint')
  const port = whole(e.port, 1, 65535, 'endpoint')
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`
}

/** Reads what `formatEndpoint` writes. @throws {InvalidValue} */
export function parseEndpoint(text: string): Endpoint {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([1-9]\d{0,4})$/.exec(text)
  if (!match) throw new InvalidValue('endpoint', 'must be address:port')
  const [, v6, v4] = match
  const endpoint = { address: address(v6 ?? v4 ?? '', 'endpoint'), port: whole(Number(match[3]), 1, 65535, 'endpoint') }
  if ((v6 !== undefined) !== endpoint.address.includes(':')) throw new InvalidValue('endpoint', 'must be address:port')
  return endpoint
}

function networks(list: string[], field: string): string {
  if (list.length === 0) throw new InvalidValue(field, 'must not be empty')
  return list.map((text) => canonicalCidr(text, field)).join(', ')
}

function address(text: string, field: string): string {
  const { family, value } = parseAddress(text, field)
  return formatAddress(family, value)
}

function secret(text: string, field: string): string {
  if (!isSecretKey(text)) throw new InvalidValue(field, 'must be base64 of 32 bytes')
  return text
}

function publicKey(text: string): string {
  if (!isPublicKey(text)) throw new InvalidValue('publicKey', 'must be a WireGuard public key')
  return text
}

function whole(n: number, min: number, max: number, field: string): number {
  if (!Number.isInteger(n) || n < min || n > max)
    throw new InvalidValue(field, `must be a whole number, ${min} to ${max}`)
  return n
}
