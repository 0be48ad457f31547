import { openDriver, WireguardError } from '@prime-vpn/wireguard'
import { Agent, type Exit } from '../agent.ts'
import { missingTools } from '../checks.ts'
import { flushFlows } from '../conntrack.ts'
import { openDataDir } from '../data-dir.ts'
import { exitAddresses } from '../exits.ts'
import { CannotRun, Refused, UsageError } from '../failures.ts'
import { describe } from '../findings.ts'
import { flusherOf } from '../flusher.ts'
import { healthChecks } from '../health.ts'
import { loadIdentity, publicKeys, type Enrolled } from '../identity.ts'
import { interfaceKeeper } from '../interface-keeper.ts'
import { lastConfig, leavingAddresses, openJournal } from '../journal-file.ts'
import { takeLock } from '../lock.ts'
import type { Log } from '../log.ts'
import { serveStatus, type Status } from '../status-socket.ts'
import { AGENT_VERSION } from '../versions.ts'

/**
 * Runs the agent until it is stopped. Brings the machine up from what the disk says before it dials, so that tunnels
 * come back after a reboot while the control plane is away.
 * @param stopped aborts when the operator wants an end
 * @throws {CannotRun} @throws {UsageError} not enrolled @throws {Refused} dismissed by the control plane
 */
export async function run(dataDir: string, log: Log, stopped: AbortSignal): Promise<void> {
  const dir = await openDataDir(dataDir)
  const identity = await loadIdentity(dir)
  if (!identity?.enrolled) throw new UsageError('this machine is not enrolled: prime-node join <url> <token>')
  const lock = await takeLock(dir)
  try {
    const exit = await serve(dir, { ...identity, enrolled: identity.enrolled }, log, stopped)
    if (exit.code === 3)
      throw new Refused(`the control plane dismissed this node: ${exit.reason}; tunnels go on until prime-node leave`)
  } finally {
    await lock.release()
  }
}

async function serve(dir: string, identity: Enrolled, log: Log, stopped: AbortSignal): Promise<Exit> {
  const driver = await openDriver(identity.interface, identity.backend).catch(asFailure)
  const [missing] = await missingTools(driver.backend)
  if (missing) throw new CannotRun(`${describe(missing).what} (${describe(missing).remedy})`)
  const keeper = interfaceKeeper({ identity, dataDir: dir, driver })
  const config = lastConfig(dir)
  if (config) await keeper.configure(config).catch(asFailure)
  const journal = openJournal(dir)
  const health = await healthChecks({ interface: identity.interface, backend: driver.backend, ipv6: keeper.ipv6 })
  const flusher = flusherOf((addresses) => flushFlows(addresses, dir))
  // Whoever was on the way out when the process died may be gone already, with flows that nobody forgot.
  await flusher.flush(leavingAddresses(journal.entries))
  const agent = new Agent({ keeper, driver, journal, flusher, log, health, exits: exitAddresses })
  const started = new Date().toISOString()
  const server = await serveStatus(dir, () => statusOf(agent, keeper.identity(), driver.backend, started)).catch(
    () => null,
  )
  if (!server) log('warn', 'status_unavailable')
  server?.on('error', () => log('warn', 'status_unavailable'))
  agent.start()
  log('info', 'running', { backend: driver.backend })
  const stop = (): void => void agent.stop({ code: 0, reason: 'stopped' })
  if (stopped.aborted) stop()
  else stopped.addEventListener('abort', stop, { once: true })
  try {
    return await agent.ended
  } finally {
    server?.close()
  }
}

function statusOf(agent: Agent, identity: Enrolled, backend: string, started: string): Status {
  const { link, revision, peers, warnings } = agent.status()
  return {
    version: AGENT_VERSION,
    pid: process.pid,
    started_at: started,
    node_id: identity.enrolled.node_id,
    server_id: identity.enrolled.server_id,
    control_url: identity.control_url,
    interface: identity.interface,
    backend,
    public_key: publicKeys(identity).wireguard,
    link,
    revision,
    peers,
    warnings,
  }
}

function asFailure(error: unknown): never {
  if (error instanceof WireguardError) throw new CannotRun(error.message, error)
  throw error
}
