import { readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalCidr, formatAddress, parseCidr } from '@prime-vpn/wireguard'
import { ProgramFailed, eachLine, run } from './exec.ts'
import { compareVersions, numbersIn } from './versions.ts'

const FIRST_WITH_FILES = [1, 4, 7]
/** Each deletion makes the kernel walk its whole table (9 ms with 262,144 buckets); beyond this, look first whom to delete. */
const LOOK_FIRST = 4

/**
 * Forgets every tracked flow from or to these addresses, so that the next holder of an address hears nothing of the one
 * before. One process for all: it reads its orders from a file (0600), since arguments are readable by everybody.
 * @param addresses `address/length` as in a peer's allowed IPs; networks are flushed as a whole
 * @throws {CannotRun} the tool is not installed @throws {ProgramFailed}
 */
export async function flushFlows(addresses: readonly string[], dataDir: string): Promise<void> {
  const wanted = addresses.length > LOOK_FIRST ? await withFlows(addresses) : addresses
  if (wanted.length === 0) return
  const orders = wanted.flatMap(ordersFor)
  if (await takesFile()) await runFile(orders, dataDir)
  else for (const order of orders) await runOne(order)
}

/** `conntrack -D` ends with 1 when nothing matched as well as on a fault; only its count tells them apart. */
async function runOne(order: readonly string[]): Promise<void> {
  const { code, stderr } = await run('conntrack', order, { expect: [1] })
  if (code !== 0 && !stderr.includes('flow entries have been deleted'))
    throw new ProgramFailed('conntrack', code, 'flows were not deleted')
}

let files = 0
let batches: boolean | null = null

/** Reading orders from a file came with conntrack-tools 1.4.7; before it each order is a process. */
async function takesFile(): Promise<boolean> {
  batches ??= compareVersions(numbersIn((await run('conntrack', ['--version'])).stdout), FIRST_WITH_FILES) >= 0
  return batches
}

async function runFile(orders: readonly string[][], dataDir: string): Promise<void> {
  const path = join(dataDir, `conntrack.${process.pid}.${++files}`)
  await writeFile(path, orders.map((order) => `${order.join(' ')}\n`).join(''), { mode: 0o600 })
  try {
    await run('conntrack', ['--load-file', path], {
      timeoutMs: 120_000,
      maxBytes: 64 * 1024 * 1024,
    })
  } finally {
    await unlink(path)
  }
}

function ordersFor(address: string): string[][] {
  const kind = parseCidr(address).family === 4 ? 'ipv4' : 'ipv6'
  return ['-s', '-d'].map((side) => ['-D', '-f', kind, side, address])
}

/** Those of the addresses that a tracked flow begins or ends at; networks are kept, for they cannot be looked up. */
async function withFlows(addresses: readonly string[]): Promise<string[]> {
  const single = new Map<string, string>()
  const found = new Set<string>()
  for (const text of addresses) {
    const { family, value, prefix } = parseCidr(text)
    if (prefix === (family === 4 ? 32 : 128)) single.set(formatAddress(family, value), canonicalCidr(text))
    else found.add(text)
  }
  for (const kind of ['ipv4', 'ipv6']) {
    await eachLine('conntrack', ['-L', '-f', kind], (line) => {
      for (const [, address = ''] of line.matchAll(/ (?:src|dst)=(\S+)/g)) {
        const match = single.get(address)
        if (match !== undefined) found.add(match)
      }
    })
  }
  return [...found]
}

/** Share of the connection-tracking table in use, 0..1; null where tracking is not loaded. */
export async function conntrackUse(): Promise<number | null> {
  const [count, max] = await Promise.all([readNumber('count'), readNumber('max')])
  return count === null || !max ? null : Math.min(1, count / max)
}

/** How many flows the machine can track; null where tracking is not loaded. */
export const conntrackMax = (): Promise<number | null> => readNumber('max')

async function readNumber(name: string): Promise<number | null> {
  const text = await readFile(`/proc/sys/net/netfilter/nf_conntrack_${name}`, 'utf8').catch(() => '')
  return /^\d+\s*$/.test(text) ? Number(text) : null
}
