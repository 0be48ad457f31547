import { rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { formatCidr, networkOf, openDriver, parseCidr, WireguardError } from '@prime-vpn/wireguard'
import { flushFlows } from '../conntrack.ts'
import { FILES, readIfThere } from '../data-dir.ts'
import { CannotRun } from '../failures.ts'
import { removeFirewall } from '../firewall.ts'
import { loadIdentity, type Identity } from '../identity.ts'
import { lastConfig } from '../journal-file.ts'
import { takeLock } from '../lock.ts'
import type { Log } from '../log.ts'
import { isOurs, readFormer } from '../machine.ts'
import { restoreForwarding } from '../sysctl.ts'

/**
 * Removes what this node made, and nothing else, in the reverse of the order in which it was made: forwarding, the
 * interface (when its key is ours), tracked flows, rules, files. The control plane is told nothing.
 * @throws {CannotRun} the agent still runs, or something cannot be removed; running it again goes on from there
 */
export async function leave(dataDir: string, log: Log): Promise<void> {
  const identity = await loadIdentity(dataDir)
  if (!identity) throw new CannotRun(`there is no node in ${dataDir}`)
  const lock = await takeLock(dataDir).catch((error: unknown) => {
    if (error instanceof CannotRun) throw new CannotRun(`${error.message}: stop it first`, error)
    throw error
  })
  try {
    await restoreForwarding(await readFormer(dataDir))
    await removeInterface(dataDir, identity, log)
    await flushFlows(poolsOf(dataDir), dataDir).catch(() => log('warn', 'flows_not_flushed'))
    await removeFirewall(identity.interface)
    // The identity goes last: as long as it is there, leave can be run again.
    for (const name of [FILES.journal, FILES.sysctl, FILES.ruleset, FILES.socket, FILES.made, FILES.identity])
      await rm(join(dataDir, name), { force: true })
  } finally {
    await lock.release()
  }
  await rmdir(dataDir).catch(() => undefined) // kept when it holds something that is not ours
  log('info', 'left')
}

async function removeInterface(dataDir: string, identity: Identity, log: Log): Promise<void> {
  if ((await readIfThere(dataDir, FILES.made)) === null) return
  try {
    const driver = await openDriver(identity.interface, identity.backend)
    if (!(await driver.exists())) return
    if (await isOurs({ identity, dataDir, driver })) await driver.destroy()
    else log('warn', 'foreign_interface_kept')
  } catch (error) {
    if (error instanceof WireguardError) throw new CannotRun(error.message, error)
    throw error
  }
}

/** Asks a person at a terminal; without one nobody is asked. */
export async function confirmed(yes: boolean): Promise<boolean> {
  if (yes || !process.stdin.isTTY) return true
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await terminal.question('All tunnels of this node end and its keys are deleted. Type yes to go on: ')
  terminal.close()
  return answer.trim().toLowerCase() === 'yes'
}

const poolsOf = (dataDir: string): string[] =>
  (lastConfig(dataDir)?.addresses ?? []).map((address) => formatCidr(networkOf(parseCidr(address))))
