import { access, constants, readFile } from 'node:fs/promises'
import os from 'node:os'
import { kernelBackend } from './backend.ts'
import { conntrackUse } from './conntrack.ts'
import { run } from './exec.ts'
import { CannotRun } from './failures.ts'
import type { FindingCode } from './findings.ts'
import { foreignForwardDrops } from './firewall.ts'
import { forwards } from './sysctl.ts'
import { isOldKernel, isOldNode, isOldWireguardGo } from './versions.ts'

const CAP_NET_ADMIN = 1n << 12n
const CONNTRACK_HIGH = 0.8

/** The programs a node cannot do without, or what is missing of them. */
export async function missingTools(backend: 'kernel' | 'userspace' | null): Promise<FindingCode[]> {
  const wanted: [FindingCode, string, string[]][] = [
    ['no_nft', 'nft', ['--version']],
    ['no_ip', 'ip', ['-V']],
    ['no_conntrack', 'conntrack', ['--version']],
  ]
  if (backend === 'kernel') wanted.push(['no_wg', 'wg', ['--version']])
  const missing = await Promise.all(
    wanted.map(async ([code, tool, args]) => ((await isThere(tool, args)) ? [] : [code])),
  )
  return missing.flat()
}

/** What is old or lacking in what the tunnels stand on. */
export async function dataPlane(backend: 'kernel' | 'userspace' | null): Promise<FindingCode[]> {
  const found: FindingCode[] = []
  if (isOldNode(process.version)) found.push('old_node')
  if ((backend ?? (await kernelBackend())) === 'kernel') {
    if (isOldKernel(os.release(), os.version())) found.push('old_kernel')
    return found
  }
  const version = await run('wireguard-go', ['--version']).catch(() => null)
  const tun = await access('/dev/net/tun', constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  )
  if (!version || !tun) found.push('no_wireguard')
  if (version && isOldWireguardGo(version.stdout + version.stderr)) found.push('old_wireguard_go')
  return found
}

/** What is amiss on the machine while it works as a node. */
export async function runningMachine(interfaceName: string, ipv6: boolean): Promise<FindingCode[]> {
  const found: FindingCode[] = []
  if (!(await forwards(ipv6))) found.push('forwarding_off')
  if (ipv6 && !(await hasRoute6())) found.push('no_ipv6_uplink')
  if (((await conntrackUse()) ?? 0) > CONNTRACK_HIGH) found.push('conntrack_full')
  if ((await foreignForwardDrops(interfaceName).catch(() => [])).length > 0) found.push('foreign_forward_drop')
  if ((await readFile('/proc/swaps', 'utf8').catch(() => '')).trim().split('\n').length > 1) found.push('swap_on')
  return found
}

/** What this process could do that it should not. */
export async function ownProcess(): Promise<FindingCode[]> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const found: FindingCode[] = []
  if (!/^Max core file size\s+0\s/m.test(limits)) found.push('core_dumps')
  if (process.geteuid?.() === 0) found.push('runs_as_root')
  return found
}

/** True when this process holds CAP_NET_ADMIN. */
export async function hasNetAdmin(): Promise<boolean> {
  const text = await readFile('/proc/self/status', 'utf8')
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(text)?.[1]
  return (BigInt(`0x${effective ?? '0'}`) & CAP_NET_ADMIN) !== 0n
}

/** A default route of IPv6 that is not the one saying "unreachable": the last lines of /proc/net/ipv6_route. */
async function hasRoute6(): Promise<boolean> {
  const text = await readFile('/proc/net/ipv6_route', 'utf8').catch(() => '')
  return text.split('\n').some((line) => {
    const fields = line.trim().split(/\s+/)
    return /^0{32}$/.test(fields[0] ?? '') && fields[1] === '00' && fields[9] !== 'lo'
  })
}

async function isThere(tool: string, args: string[]): Promise<boolean> {
  try {
    await run(tool, args)
    return true
  } catch (error) {
    return !(error instanceof CannotRun)
  }
}
