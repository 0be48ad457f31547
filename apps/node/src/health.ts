import os from 'node:os'
import type { AgentEvent } from '@prime-vpn/node-protocol'
import { dataPlane, missingTools, ownProcess, runningMachine } from './checks.ts'
import { conntrackUse } from './conntrack.ts'
import type { FindingCode } from './findings.ts'

export type Health = Extract<AgentEvent, { type: 'health' }>['health']

/** What cannot change while the agent runs is looked at once. */
export type HealthChecks = (peers: number, live: Iterable<FindingCode>) => Promise<Health>

/** A function that takes the machine's pulse. `live` are the findings the agent itself knows of at the moment. */
export async function healthChecks(o: {
  interface: string
  backend: 'kernel' | 'userspace'
  ipv6: () => boolean
}): Promise<HealthChecks> {
  const lasting = [...(await missingTools(o.backend)), ...(await dataPlane(o.backend)), ...(await ownProcess())]
  return async (peers, live) => {
    const now = await runningMachine(o.interface, o.ipv6())
    return {
      load1: os.loadavg()[0] ?? 0,
      cores: Math.max(1, os.availableParallelism()),
      peers,
      conntrack: await conntrackUse(),
      warnings: [...new Set([...lasting, ...now, ...live])].slice(0, 32),
    }
  }
}
