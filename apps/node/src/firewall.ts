import { writeFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ProgramFailed, run } from './exec.ts'
import { CannotRun } from './failures.ts'
import { COUNTERS, markOf, ruleset, tableName, type RulesetWish } from './ruleset.ts'

export type DropCounts = Partial<Record<keyof typeof COUNTERS, number>>

/** The node's tables in the kernel. `arp` is false where the kernel has no ARP family for nftables. */
export type Firewall = { mark: string; arp: boolean; reloaded: boolean }

/**
 * Puts the rules into the kernel in one transaction, or leaves them alone when they are there already: no peer ever
 * causes a reload. Works while the interface does not exist yet, which is when it must first run.
 * @param dataDir where the text lies (0600) while `nft` reads it
 * @throws {CannotRun} no nft, no permission, or a kernel that refuses the rules
 */
export async function applyFirewall(wish: RulesetWish, dataDir: string): Promise<Firewall> {
  for (const arp of [true, false]) {
    const text = ruleset(wish, { arp })
    const mark = markIn(text)
    if (await isApplied(wish.interface, mark)) return { mark, arp, reloaded: false }
    try {
      await load(text, join(dataDir, 'ruleset.nft'))
      return { mark, arp, reloaded: true }
    } catch (error) {
      if (!(error instanceof ProgramFailed)) throw error
      if (isPermission(error)) throw new CannotRun('nftables may not be changed: CAP_NET_ADMIN is missing', error)
      if (!arp) throw new CannotRun(`the kernel refuses the firewall rules (${error.message})`, error)
    }
  }
  throw new CannotRun('the firewall rules could not be loaded')
}

/** True when the kernel holds the tables made from the text with this mark. */
export async function isApplied(interfaceName: string, mark: string): Promise<boolean> {
  const args = ['list', 'chain', 'inet', tableName(interfaceName), mark]
  try {
    return (await run('nft', args, { expect: [1] })).code === 0
  } catch (error) {
    if (error instanceof ProgramFailed) return false
    throw error
  }
}

/** Removes the tables of this interface; nothing happens when there are none. */
export async function removeFirewall(interfaceName: string): Promise<void> {
  for (const family of ['arp', 'inet']) {
    const table = tableName(interfaceName)
    if (await hasTable(family, table)) await run('nft', ['delete', 'table', family, table])
  }
}

/** True when this table exists; false too where the kernel does not know its family. */
const hasTable = async (family: string, table: string): Promise<boolean> =>
  (await run('nft', ['list', 'table', family, table], { expect: [1] })).code === 0

const Listing = z.object({
  nftables: z.array(z.object({ counter: z.object({ name: z.string(), packets: z.number() }).optional() })),
})

/** Packets dropped since the rules were loaded, by reason; empty when the table is missing. */
export async function dropCounts(interfaceName: string): Promise<DropCounts> {
  const args = ['-j', 'list', 'counters', 'table', 'inet', tableName(interfaceName)]
  const { code, stdout } = await run('nft', args, { expect: [1] })
  if (code !== 0) return {}
  const counts: DropCounts = {}
  for (const { counter } of Listing.parse(JSON.parse(stdout)).nftables)
    for (const name of Object.keys(COUNTERS) as (keyof typeof COUNTERS)[])
      if (counter?.name === name) counts[name] = counter.packets
  return counts
}

const Chains = z.object({
  nftables: z.array(
    z.object({
      chain: z
        .object({ family: z.string(), table: z.string(), hook: z.string().optional(), policy: z.string().optional() })
        .optional(),
    }),
  ),
})

/**
 * Tables of other programs that drop what is forwarded unless they know it (Docker's, for one). An accept of ours
 * cannot overrule them, so an operator has to hear of it.
 */
export async function foreignForwardDrops(interfaceName: string): Promise<string[]> {
  const { code, stdout } = await run('nft', ['-j', 'list', 'chains'], { expect: [1] })
  if (code !== 0) return []
  return Chains.parse(JSON.parse(stdout)).nftables.flatMap(({ chain }) =>
    chain?.hook === 'forward' && chain.policy === 'drop' && chain.table !== tableName(interfaceName)
      ? [`${chain.family} ${chain.table}`]
      : [],
  )
}

/** `nft -f` reads a file: Node's pipes are sockets, which it cannot open. */
async function load(text: string, path: string): Promise<void> {
  const draft = `${path}.${process.pid}`
  await writeFile(draft, text, { mode: 0o600 })
  await run('nft', ['-f', draft], { timeoutMs: 30_000 })
  await rename(draft, path)
}

const markIn = (text: string): string => /\bchain (text_[0-9a-f]+) /.exec(text)?.[1] ?? markOf(text)

const isPermission = (error: ProgramFailed): boolean => /Operation not permitted|Permission denied/i.test(error.stderr)
