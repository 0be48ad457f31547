import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { canonicalCidr } from './addresses.ts'
import { checkInterfaceName, type Link } from './driver.ts'
import { InvalidValue, WireguardUnavailable } from './errors.ts'
import { run, ToolFailed } from './run.ts'

/** What `ip` knows of an interface. */
export type LinkState = { index: number; up: boolean; mtu: number; alias: string; kind: string; addresses: string[] }

type IpAddress = { local?: string; prefixlen?: number; scope?: string }
type IpLink = {
  ifindex: number
  flags: string[]
  mtu: number
  ifalias?: string
  linkinfo?: { info_kind?: string }
  addr_info?: IpAddress[]
}

/** The interface in this network namespace, or null when there is none of that name. */
export async function readLink(name: string): Promise<LinkState | null> {
  const text = await run('ip', ['-details', '-json', 'address', 'show', 'dev', name]).catch((err: unknown) => {
    if (err instanceof ToolFailed && /does not exist|Cannot find device/.test(err.stderr)) return '[]'
    throw err
  })
  const [link] = JSON.parse(text) as IpLink[] // the format of iproute2, which names every field we read
  if (!link) return null
  return {
    index: link.ifindex,
    up: link.flags.includes('UP'),
    mtu: link.mtu,
    alias: link.ifalias ?? '',
    kind: link.linkinfo?.info_kind ?? '',
    addresses: (link.addr_info ?? []).flatMap(cidrOf),
  }
}

/** Addresses of ours; the kernel's own link-local ones are left alone. */
const cidrOf = (a: IpAddress): string[] =>
  a.local === undefined || a.prefixlen === undefined || a.scope === 'link' ? [] : [`${a.local}/${a.prefixlen}`]

/**
 * Brings an interface to exactly these addresses and this MTU, and up. Says nothing to the kernel that is already so.
 * @param o.addresses own addresses with the length of their network, e.g. `10.77.4.1/22`
 * @throws {WireguardUnavailable} there is no such interface, or no permission
 */
export async function setLink(name: string, o: { addresses: string[]; mtu: number }): Promise<void> {
  const wanted = o.addresses.map((a) => canonicalCidr(a, 'addresses'))
  if (!Number.isInteger(o.mtu) || o.mtu < 1280 || o.mtu > 65535) throw new InvalidValue('mtu', 'must be 1280 to 65535')
  const now = await readLink(checkInterfaceName(name))
  if (!now) throw new WireguardUnavailable('not-started', 'the interface does not exist')
  if (now.mtu !== o.mtu) await ip('link', 'set', 'dev', name, 'mtu', String(o.mtu))
  for (const a of now.addresses) if (!wanted.includes(a)) await ip('address', 'delete', a, 'dev', name)
  for (const a of wanted) if (!now.addresses.includes(a)) await ip('address', 'replace', a, 'dev', name)
  if (!now.up) await ip('link', 'set', 'dev', name, 'up')
}

/** Runs `ip` and turns a refusal for want of rights into the typed error. */
export async function ip(...args: string[]): Promise<void> {
  await run('ip', args).catch((err: unknown) => {
    if (err instanceof ToolFailed && /Operation not permitted/.test(err.stderr))
      throw new WireguardUnavailable('no-permission', 'changing interfaces needs CAP_NET_ADMIN', err)
    throw err
  })
}

/**
 * Writes a random word on the interface unless it bears one. The word lives and dies with the interface, so it tells a
 * new interface from an old one even where the kernel counts its indexes from one again (a new network namespace).
 */
export async function brand(name: string): Promise<void> {
  const link = await readLink(name)
  if (link?.alias === '') await ip('link', 'set', 'dev', name, 'alias', `wg:${randomBytes(9).toString('base64url')}`)
}

/** Boot, index and word of an interface. @throws {WireguardUnavailable} there is none */
export async function identityOf(name: string): Promise<string> {
  const link = await readLink(name)
  if (!link) throw new WireguardUnavailable('not-started', 'the interface does not exist')
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  return `${boot}/${link.index}/${link.alias}`
}

/** An interface of the kernel's own WireGuard. */
export function kernelLink(name: string): Link {
  return {
    exists: async () => (await readLink(name))?.kind === 'wireguard',
    create: () => createKernelLink(name),
    destroy: async () => {
      if ((await readLink(name))?.kind === 'wireguard') await ip('link', 'delete', 'dev', name)
    },
    identity: () => identityOf(name),
  }
}

async function createKernelLink(name: string): Promise<void> {
  const now = await readLink(name)
  if (now && now.kind !== 'wireguard') throw new WireguardUnavailable('name-taken', 'another interface has this name')
  if (!now) await addKernelLink(name)
  await brand(name)
}

async function addKernelLink(name: string): Promise<void> {
  await ip('link', 'add', 'dev', name, 'type', 'wireguard').catch((err: unknown) => {
    if (err instanceof ToolFailed && /Unknown device type|not supported/.test(err.stderr))
      throw new WireguardUnavailable('no-kernel-support', 'this kernel has no WireGuard', err)
    throw err
  })
}

/** True when this kernel can make WireGuard interfaces; tried with an interface that is removed at once. */
export async function kernelHasWireguard(): Promise<boolean> {
  const probe = `wgp${randomBytes(4).toString('hex')}`
  try {
    await addKernelLink(probe)
  } catch (err) {
    if (err instanceof WireguardUnavailable && err.reason === 'no-kernel-support') return false
    throw err
  }
  await ip('link', 'delete', 'dev', probe)
  return true
}
