import { BlockList, isIPv6 } from 'node:net'

type Block = readonly [net: string, prefix: number]

/** Nobody's source beyond the wire: this host, loopback, link-local, multicast and what is reserved. */
const NEVER: Block[] = [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 3],
]
/** All of IPv6 that is routed between networks (RFC 4291, section 2.4). */
const GLOBAL: Block[] = [['2000::', 3]]
const PRIVATE: Block[] = [
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['fc00::', 7],
]

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIPv6(address) ? 'ipv6' : 'ipv4')

function listOf(blocks: readonly Block[]): (address: string) => boolean {
  const list = new BlockList()
  for (const [net, prefix] of blocks) list.addSubnet(net, prefix, familyOf(net))
  return (address) => list.check(address, familyOf(address))
}

const isNever = listOf(NEVER)
const isGlobal = listOf(GLOBAL)
const isPrivate = listOf(PRIVATE)
const isPublic = (address: string): boolean => (isIPv6(address) ? isGlobal(address) : !isNever(address))

/**
 * What a node says of its exits, made fit to widen limits. Private ones count only where the server's own address is
 * private, as in a lab: beyond NAT they are not what we see, and elsewhere they may be somebody else's.
 * @param own `ip_address` of the server
 */
export function soundExits(told: readonly string[], own: string): string[] {
  return told.filter((address) => (isPrivate(address) ? isPrivate(own) : isPublic(address)))
}
