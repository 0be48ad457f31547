import os from 'node:os'
import { canonicalAddress, MAX_EXITS } from '@prime-vpn/node-protocol'
import { z } from 'zod'
import { run } from './exec.ts'

const Hop = z.looseObject({ dev: z.string().optional() })
/** A line of `ip -json route`; with several ways at once their interfaces are in `nexthops`. */
const Routes = z.array(Hop.extend({ prefsrc: z.string().optional(), nexthops: z.array(Hop).optional() }))

/** The default routes of one family: the interfaces they use, and the source addresses they name. */
export type Uplinks = { devices: ReadonlySet<string>; sources: readonly string[] }

/** Reads what `ip -json route show default` said; nothing at all where a family is switched off. */
export function readUplinks(json: string): Uplinks {
  const routes = json.trim() === '' ? [] : Routes.parse(JSON.parse(json))
  const hops = routes.flatMap((route) => [route, ...(route.nexthops ?? [])])
  return {
    devices: new Set(hops.flatMap(({ dev }) => dev ?? [])),
    sources: routes.flatMap(({ prefsrc }) => prefsrc ?? []),
  }
}

/** Loopback and link-local addresses are nobody's source beyond the wire. */
const isOfTheWire = (address: string): boolean => /^(127\.|169\.254\.|::1$|fe[89ab])/.test(address)

/**
 * The addresses that traffic through these uplinks may bear: named sources first, then those of the interfaces.
 * @param interfaces as `os.networkInterfaces()` tells them
 */
export function addressesOf(
  { devices, sources }: Uplinks,
  family: 'IPv4' | 'IPv6',
  interfaces: NodeJS.Dict<Pick<os.NetworkInterfaceInfo, 'address' | 'family'>[]>,
): string[] {
  // An IPv4 address with a label of its own is listed under that, such as eth0:1.
  const own = Object.entries(interfaces).flatMap(([name, infos = []]) =>
    devices.has(name.split(':')[0] ?? '') ? infos.filter((info) => info.family === family) : [],
  )
  return [...sources, ...own.map(({ address }) => address)]
    .flatMap((text) => canonicalAddress(text) ?? [])
    .filter((address) => !isOfTheWire(address))
}

/**
 * Where customers' traffic leaves this machine: the addresses of the interfaces of its default routes, at most
 * `MAX_EXITS`, IPv4 first. Behind NAT these are not what others see; the control plane knows the server's own address.
 * @returns null when they cannot be told
 */
export async function exitAddresses(): Promise<string[] | null> {
  try {
    const shown = await Promise.all(
      ['-4', '-6'].map((family) => run('ip', ['-json', family, 'route', 'show', 'default'])),
    )
    const [v4, v6] = shown.map(({ stdout }) => readUplinks(stdout))
    const interfaces = os.networkInterfaces()
    const found = [
      ...(v4 ? addressesOf(v4, 'IPv4', interfaces) : []),
      ...(v6 ? addressesOf(v6, 'IPv6', interfaces) : []),
    ]
    return [...new Set(found)].slice(0, MAX_EXITS)
  } catch {
    return null // an `ip` without JSON: the link is worth more than this
  }
}
