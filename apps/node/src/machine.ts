import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { NodeConfig } from '@prime-vpn/node-protocol'
import { publicKeyOf, readLink, setLink, type Driver } from '@prime-vpn/wireguard'
import { z } from 'zod'
import { conntrackMax } from './conntrack.ts'
import { FILES, readIfThere, writeWhole } from './data-dir.ts'
import { CannotRun } from './failures.ts'
import { applyFirewall, type Firewall } from './firewall.ts'
import type { Identity } from './identity.ts'
import { freeRange, listeningPorts } from './ports.ts'
import type { RulesetWish } from './ruleset.ts'
import { Former, beforeForwarding, enableForwarding, hardenInterface, hasIpv6 } from './sysctl.ts'

const FLOWS_PER_PEER = 4096
const FLOWS_WITHOUT_TRACKING = 1024

/** What bringing the machine up needs to know. */
export type Bringing = { identity: Identity; config: NodeConfig; dataDir: string; driver: Driver }
export type Brought = { firewall: Firewall; ipv6: boolean }

/**
 * Brings the machine to what the configuration says: rules, then the interface, then forwarding, so that at no instant
 * a packet of the pool can pass unfiltered or untranslated. What is so already is left alone, peers always.
 * @throws {CannotRun} another program owns the interface's name (then nothing was changed), or a permission is missing
 */
export async function bringUp(b: Bringing): Promise<Brought> {
  await checkOwner(b)
  const ipv6 = (await hasIpv6()) && b.config.addresses.some((a) => a.includes(':'))
  const firewall = await applyFirewall(await rulesFor(b), b.dataDir)
  if (!(await b.driver.exists())) await writeWhole(join(b.dataDir, FILES.made), `${b.identity.interface}\n`)
  await b.driver.create()
  await hardenInterface(b.identity.interface, ipv6)
  await b.driver.configure({ privateKey: b.identity.wireguard_key, listenPort: b.config.listen_port })
  const addresses = b.config.addresses.filter((a) => ipv6 || !a.includes(':'))
  await setLink(b.identity.interface, { addresses, mtu: b.config.mtu })
  await forward(b.dataDir, ipv6)
  return { firewall, ipv6 }
}

/** The rules for this configuration on this machine, with the ports that are taken now. */
export async function rulesFor({ identity, config }: Pick<Bringing, 'identity' | 'config'>): Promise<RulesetWish> {
  const taken = await listeningPorts()
  const room = await conntrackMax()
  return {
    interface: identity.interface,
    addresses: config.addresses,
    listenPort: config.listen_port,
    dns: config.dns,
    open: config.open,
    servicePorts: taken,
    natPorts: freeRange([config.listen_port, ...taken]),
    flowsPerPeer: Math.max(64, Math.min(FLOWS_PER_PEER, Math.floor((room ?? FLOWS_WITHOUT_TRACKING * 16) / 16))),
  }
}

/** True for an interface with a key of ours, or with none when we were about to make it. */
export async function isOurs({ identity, dataDir, driver }: Omit<Bringing, 'config'>): Promise<boolean> {
  const { publicKey, peers } = await driver.dump()
  const ours = [identity.wireguard_key, identity.former_key].flatMap((key) => (key === null ? [] : [publicKeyOf(key)]))
  if (publicKey !== '') return ours.includes(publicKey)
  const made = await readIfThere(dataDir, FILES.made)
  return peers.length === 0 && made?.trim() === identity.interface
}

async function checkOwner(b: Bringing): Promise<void> {
  const name = b.identity.interface
  const taken = new CannotRun(`the interface ${name} belongs to another program; choose another with --interface`)
  if (await b.driver.exists()) {
    if (!(await isOurs(b))) throw taken
  } else if (await readLink(name)) throw taken
}

async function forward(dataDir: string, ipv6: boolean): Promise<void> {
  const former = await beforeForwarding(ipv6)
  if (former) await rememberFormer(dataDir, former)
  await enableForwarding(ipv6)
}

const Memory = z.strictObject({ boot: z.string(), former: Former })

/** Values seen first in this boot count: after a crash in the middle a later reading would be our own doing. */
async function rememberFormer(dataDir: string, seen: Former): Promise<void> {
  const before = await readFormer(dataDir)
  const known = new Set(before.map(([path]) => path))
  const former = [...before, ...seen.filter(([path]) => !known.has(path))]
  await writeWhole(join(dataDir, FILES.sysctl), `${JSON.stringify({ boot: await bootId(), former })}\n`)
}

/** What `leave` has to put back; empty when we changed nothing since the machine was started. */
export async function readFormer(dataDir: string): Promise<Former> {
  const text = await readIfThere(dataDir, FILES.sysctl)
  if (text === null) return []
  const memory = Memory.parse(JSON.parse(text))
  return memory.boot === (await bootId()) ? memory.former : []
}

const bootId = async (): Promise<string> => (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()

/** The interfaces of this machine, told by one small file; null when it cannot be read. */
export async function interfaceNames(): Promise<string[] | null> {
  const text = await readFile('/proc/self/net/dev', 'utf8').catch(() => null)
  return text === null ? null : [...text.matchAll(/^\s*([^\s:]+):/gm)].map(([, name = '']) => name)
}
