import { clientConfig, NO_PRIVATE_KEY_LINE, parseEndpoint, type ClientConfig } from './config.ts'
import { InvalidValue } from './errors.ts'

const KEYS: Record<string, readonly string[]> = {
  Interface: ['PrivateKey', 'Address', 'DNS', 'MTU'],
  Peer: ['PublicKey', 'PresharedKey', 'Endpoint', 'AllowedIPs', 'PersistentKeepalive'],
}

/**
 * Reads a client configuration strictly: one [Interface], one [Peer], each known key at most once and nothing else. A
 * file that wg-quick would understand otherwise (PostUp, a second peer, an unknown key) is refused.
 * @throws {InvalidValue}
 */
export function parseConfig(text: string): ClientConfig {
  const found = readLines(text)
  const need = (key: string): string => {
    const value = found.get(key)
    if (value === undefined) throw new InvalidValue(key, 'is missing')
    return value
  }
  const optional = (key: string): number | undefined => {
    const value = found.get(key)
    return value === undefined ? undefined : wholeNumber(value, key)
  }
  const config: ClientConfig = {
    privateKey: found.get('PrivateKey') ?? null,
    addresses: list(need('Address')),
    dns: list(found.get('DNS')),
    publicKey: need('PublicKey'),
    presharedKey: found.get('PresharedKey') ?? null,
    endpoint: parseEndpoint(need('Endpoint')),
    allowedIps: list(need('AllowedIPs')),
    mtu: optional('MTU'),
    keepalive: optional('PersistentKeepalive'),
  }
  clientConfig(config) // the writer holds the rules for every value
  return config
}

function readLines(text: string): Map<string, string> {
  const found = new Map<string, string>()
  const sections = new Set<string>()
  let section = ''
  for (const line of text.split('\n')) {
    if (line === '' || line === NO_PRIVATE_KEY_LINE) continue
    const heading = /^\[(Interface|Peer)\]$/.exec(line)?.[1]
    if (heading !== undefined) {
      if (sections.has(heading)) throw new InvalidValue(heading, 'comes twice')
      sections.add((section = heading))
      continue
    }
    const [, key = '', value = ''] = /^([A-Za-z]+) = ([ -~]+)$/.exec(line) ?? []
    if (!KEYS[section]?.includes(key)) throw new InvalidValue('line', 'is not known in its section')
    if (found.has(key)) throw new InvalidValue(key, 'comes twice')
    found.set(key, value)
  }
  return found
}

const list = (text: string | undefined): string[] => (text === undefined ? [] : text.split(', '))

function wholeNumber(text: string, key: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidValue(key, 'must be a whole number')
  return Number(text)
}
