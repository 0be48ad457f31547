import { createInterface } from 'node:readline'
import { firstEntries, type EnrollRequest } from '@prime-vpn/node-protocol'
import { openDriver, WireguardError, readLink } from '@prime-vpn/wireguard'
import { missingTools } from '../checks.ts'
import { checkToken, type Command } from '../cli.ts'
import { checkPlainHttp } from '../control-url.ts'
import { openDataDir } from '../data-dir.ts'
import { enrol } from '../enrol.ts'
import { CannotRun, UsageError } from '../failures.ts'
import { describe } from '../findings.ts'
import {
  digestOf,
  loadIdentity,
  newIdentity,
  publicKeys,
  saveIdentity,
  type Enrolled,
  type Identity,
} from '../identity.ts'
import { openJournal } from '../journal-file.ts'
import { takeLock } from '../lock.ts'
import type { Log } from '../log.ts'
import { isOurs } from '../machine.ts'
import { AGENT_VERSION } from '../versions.ts'

type Join = Extract<Command, { name: 'join' }>

/**
 * Enrols this machine; joining again with the same token is no second enrolment, so the same command may be the
 * command of a container. The keys are on the disk before the control plane hears of them: a lost answer is asked for
 * again with the same ones.
 * @throws {Refused} @throws {Unreachable} @throws {CannotRun} @throws {UsageError}
 */
export async function join(command: Join, log: Log, stdin: NodeJS.ReadableStream = process.stdin): Promise<void> {
  checkPlainHttp(command.url)
  const given = command.token === '-' ? await readToken(stdin) : command.token
  const dir = await openDataDir(command.dataDir)
  const lock = await takeLock(dir)
  try {
    const found = await loadIdentity(dir)
    checkFits(found, command)
    const known = found?.enrolled && (given === null || found.token_digest === digestOf(given))
    if (known) return log('info', 'already_enrolled')
    if (given === null) throw new UsageError('no token came on stdin')
    await register(dir, await prepare(dir, found, command, given), command, given, log)
  } finally {
    await lock.release()
  }
}

/** @throws {UsageError} this directory is enrolled elsewhere, or with another interface */
function checkFits(found: Identity | null, command: Join): void {
  if (!found?.enrolled) return
  if (found.control_url !== command.url)
    throw new UsageError('this data directory belongs to another control plane; run prime-node leave first')
  if (found.interface !== command.interface)
    throw new UsageError(`this node uses the interface ${found.interface}; run prime-node leave first`)
}

/** The identity to enrol with, on the disk: the keys that are there, or new ones. */
async function prepare(dir: string, found: Identity | null, command: Join, token: string): Promise<Identity> {
  const { url: control_url, backend } = command
  const wish = { control_url, interface: command.interface, backend, token_digest: digestOf(token) }
  if (found?.enrolled) return { ...found, token_digest: wish.token_digest }
  const identity = found ? { ...found, ...wish } : newIdentity(wish)
  await saveIdentity(dir, identity)
  return identity
}

async function register(dir: string, identity: Identity, command: Join, token: string, log: Log): Promise<void> {
  const backend = await checkMachine(dir, identity)
  const keys = publicKeys(identity)
  const request: EnrollRequest = {
    token,
    public_key: keys.wireguard,
    identity_key: keys.identity,
    agent_version: AGENT_VERSION,
    backend,
    ...(command.endpoint === null ? {} : { endpoint: command.endpoint }),
    ...(command.listenPort === null ? {} : { listen_port: command.listenPort }),
  }
  const answer = await enrol(identity.control_url, request, {
    onRetry: (why) => log('warn', 'enrolment_delayed', { why }),
  })
  const { node_id, server_id, installation, hostname, config } = answer
  // The journal comes first: an identity that says "enrolled" always has its configuration.
  const journal = openJournal(dir)
  const sameNode = identity.enrolled?.installation === installation && identity.enrolled.node_id === node_id
  if (!sameNode) journal.replace(firstEntries(installation, config))
  else journal.append([{ kind: 'config', config }])
  journal.close()
  const enrolled: Enrolled = { ...identity, enrolled: { node_id, server_id, installation, hostname } }
  await saveIdentity(dir, enrolled)
  log('info', 'enrolled', { node_id, server_id })
}

/** What would make the machine useless as a node is found before the token is spent. */
async function checkMachine(dir: string, identity: Identity): Promise<'kernel' | 'userspace'> {
  try {
    const driver = await openDriver(identity.interface, identity.backend)
    const [missing] = await missingTools(driver.backend)
    if (missing) throw new CannotRun(`${describe(missing).what} (${describe(missing).remedy})`)
    const taken = (await driver.exists())
      ? !(await isOurs({ identity, dataDir: dir, driver }))
      : (await readLink(identity.interface)) !== null
    if (taken)
      throw new CannotRun(
        `the interface ${identity.interface} belongs to another program; choose another with --interface`,
      )
    return driver.backend
  } catch (error) {
    if (error instanceof WireguardError) throw new CannotRun(error.message, error)
    throw error
  }
}

/** The first line of stdin; null when there is none, as with a token file that was emptied after its use. */
async function readToken(stdin: NodeJS.ReadableStream): Promise<string | null> {
  for await (const line of createInterface({ input: stdin })) return line.trim() === '' ? null : checkToken(line.trim())
  return null
}
