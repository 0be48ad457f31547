import { chmod, lstat, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { embeddedPostgresUrl, FolderInUse, socketHost } from '../postgres/index.ts'
import { takeLock, type Lock } from '../postgres/lock.ts'
import { settle } from '../postgres/place.ts'
import { prepare } from '../postgres/prepare.ts'
import { asAdmin, ensureRoles } from '../postgres/roles.ts'
import { clusterParent } from './folder.ts'

const silent = { info() {}, warn() {}, error() {} }

/** A folder that nobody else can have put there for us. */
async function ownFolder(): Promise<string> {
  const uid = process.getuid?.() ?? 0
  const folder = join(await clusterParent(), `prime-vpn-test-${uid}`)
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const found = await lstat(folder)
  if (!found.isDirectory() || found.uid !== uid) throw new Error(`${folder} belongs to somebody else: remove it.`)
  await chmod(folder, 0o711)
  return folder
}

/** The socket folder of a cluster that really answers; one that is up but broken is replaced like one that is down. */
async function running(folder: string): Promise<string | undefined> {
  const urls = await embeddedPostgresUrl(folder)
  const socket = urls && socketHost(urls.ownerUrl).host
  if (!socket) return undefined
  return asAdmin(socket, 'postgres', (client) => client.query('select 1')).then(
    () => socket,
    () => undefined,
  )
}

/** One process at a time looks and, if need be, starts; the others wait. */
async function inTurn<T>(path: string, work: () => Promise<T>): Promise<T> {
  const lock = await waitForLock(path)
  try {
    return await work()
  } finally {
    await lock.release()
  }
}

async function waitForLock(path: string): Promise<Lock> {
  for (;;) {
    try {
      return await takeLock(path)
    } catch (error) {
      if (!(error instanceof FolderInUse)) throw error
      await sleep(50)
    }
  }
}

async function startAndLeave(folder: string): Promise<string> {
  const { socket, start } = await prepare(await settle(folder), silent, 'throwaway')
  const postmaster = await start()
  await ensureRoles(socket)
  postmaster.leave()
  return socket
}

let found: Promise<string> | undefined

/**
 * The socket folder of the cluster that tests share: the one `npm test` started (PRIME_TEST_POSTGRES), else one that
 * stays in memory or in the temporary folder, so that a test file run by hand begins at once. It may be killed at any time.
 */
export function testCluster(): Promise<string> {
  found ??= (async () => {
    if (process.env.PRIME_TEST_POSTGRES) return process.env.PRIME_TEST_POSTGRES
    const folder = await ownFolder()
    return (await running(folder)) ?? inTurn(join(folder, 'turn'), async () => (await running(folder)) ?? startAndLeave(folder)) // prettier-ignore
  })()
  return found
}
