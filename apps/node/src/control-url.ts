import { lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { UsageError } from './failures.ts'

// Where plain http may go: loopback, private, shared and link-local networks. Nobody outside can listen there.
const NEAR = new BlockList()
for (const [net, prefix] of [
  ['127.0.0.0', 8],
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
] as const)
  NEAR.addSubnet(net, prefix, 'ipv4')
NEAR.addAddress('::1', 'ipv6')
NEAR.addSubnet('fc00::', 7, 'ipv6')
NEAR.addSubnet('fe80::', 10, 'ipv6')

/** True for an address that plain http may be spoken to. */
export const isNear = (address: string): boolean => NEAR.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4')

/** An https or http address below the control plane's URL, or the WebSocket one. */
export function addressOf(controlUrl: string, path: '/node/enroll' | '/node/link'): URL {
  const url = new URL(`${controlUrl}${path}`)
  if (path === '/node/link') url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  return url
}

/** @throws {UsageError} plain http to an address that is written out and lies outside */
export function checkPlainHttp(controlUrl: string): void {
  const url = new URL(controlUrl)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (url.protocol === 'http:' && isIP(host) !== 0 && !isNear(host))
    throw new UsageError('plain http is only for loopback or private addresses; use https')
}

/**
 * How names are looked up for a connection. For plain http every address found must be near; checked here, where the
 * connection takes the address from, a name cannot change its meaning in between.
 */
export function lookupFor(url: URL): LookupFunction {
  const plain = url.protocol === 'http:' || url.protocol === 'ws:'
  return (hostname, options, callback) => {
    systemLookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, '', 0)
      const far = plain && found.some(({ address }) => !isNear(address))
      const [first] = found
      if (far || !first) return callback(new UsageError('plain http is only for loopback or private addresses'), '', 0)
      if (options.all) return callback(null, found)
      callback(null, first.address, first.family)
    })
  }
}
