import { readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalCidr, formatAddress, parseAddress, parseCidr } from '@prime-vpn/wireguard'
import { eachLine, run } from './exec.ts'

/** `conntrack` ends with 1 when nothing matched, which is no fault. */
const NOTHING_MATCHED = [1]
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
  const path = join(dataDir, `conntrack.${process.pid}.${++files}`)
  await writeFile(path, wanted.flatMap(orders).join(''), { mode: 0o600 })
  try {
    await run('conntrack', ['--load-file', path], {
      expect: NOTHING_MATCHED,
      timeoutMs: 120_000,
      maxBytes: 64 * 1024 * 1024,
    })
  } finally {
    await unlink(path)
  }
}

let files = 0

const orders = (address: string): string[] =>
  ['-s', '-d'].map((side) => `-D -f ${parseCidr(address).family === 4 ? 'ipv4' : 'ipv6'} ${side} ${address}\n`)

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
        const match = single.get(address) ?? single.get(canonical(address))
        if (match !== undefined) found.add(match)
      }
    })
  }
  return [...found]
}

function canonical(address: string): string {
  const { family, value } = parseAddress(address)
  return formatAddress(family, value)
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
