import { openDriver } from '@prime-vpn/wireguard'
import { dataPlane, hasNetAdmin, missingTools, runningMachine } from '../checks.ts'
import { clockSkew } from '../clock.ts'
import { conntrackUse } from '../conntrack.ts'
import { describe, isFindingCode, type Finding, type FindingCode } from '../findings.ts'
import { dropCounts } from '../firewall.ts'
import { loadIdentity, type Identity } from '../identity.ts'
import { lastConfig } from '../journal-file.ts'
import { COUNTERS, tableName } from '../ruleset.ts'
import { askStatus } from '../status-socket.ts'
import { run } from '../exec.ts'

const MAX_SKEW_S = 5

export type Diagnosis = { findings: Finding[]; drops: Record<string, number>; conntrack: number | null }

/** Looks at this machine as a node; changes nothing, works with and without a running agent. */
export async function diagnose(dataDir: string): Promise<Diagnosis> {
  const identity = await loadIdentity(dataDir)
  const codes = new Set<FindingCode>()
  const add = (more: FindingCode[]): void => more.forEach((code) => codes.add(code))
  const backend = identity ? await backendOf(identity) : null
  add(await missingTools(backend))
  add(await dataPlane(backend))
  if (!(await hasNetAdmin())) codes.add('no_net_admin')
  if (!identity?.enrolled) codes.add('not_joined')
  else add(await enrolledMachine(dataDir, identity))
  const drops = identity ? await dropCounts(identity.interface).catch(() => ({})) : {}
  return { findings: [...codes].map(describe), drops, conntrack: await conntrackUse() }
}

async function enrolledMachine(dataDir: string, identity: Identity): Promise<FindingCode[]> {
  const codes: FindingCode[] = []
  const agent = await askStatus(dataDir)
  if (!agent) codes.push('agent_stopped')
  else {
    if (agent.link !== 'up') codes.push('link_down')
    for (const warning of agent.warnings) if (isFindingCode(warning)) codes.push(warning)
  }
  const driver = await openDriver(identity.interface, identity.backend).catch(() => null)
  if (!(await driver?.exists().catch(() => false))) codes.push('interface_missing')
  const table = await run('nft', ['list', 'table', 'inet', tableName(identity.interface)], { expect: [1] }).catch(
    () => null,
  )
  if (table?.code !== 0) codes.push('firewall_missing')
  codes.push(...(await runningMachine(identity.interface, hasIpv6Pool(dataDir))))
  const skew = await clockSkew(identity.control_url)
  if (skew === null) codes.push('control_plane_unreachable')
  else if (Math.abs(skew) > MAX_SKEW_S) codes.push('clock_skew')
  return codes
}

/** The findings as lines for people; each with its remedy. */
export function asText({ findings, drops, conntrack }: Diagnosis): string {
  const lines = findings.map(({ code, what, remedy }) => `${code}: ${what}\n    remedy: ${remedy}`)
  if (lines.length === 0) lines.push('nothing to complain about')
  for (const [name, meaning] of Object.entries(COUNTERS))
    if ((drops[name] ?? 0) > 0) lines.push(`dropped ${drops[name]} packets ${meaning}`)
  if (conntrack !== null) lines.push(`connection tracking: ${Math.round(conntrack * 100)} % in use`)
  return lines.join('\n')
}

const backendOf = async (identity: Identity): Promise<'kernel' | 'userspace' | null> =>
  openDriver(identity.interface, identity.backend).then(
    (driver) => driver.backend,
    () => null,
  )

const hasIpv6Pool = (dataDir: string): boolean => lastConfig(dataDir)?.addresses.some((a) => a.includes(':')) ?? false
