import { realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { APP_ROLE, DATABASE, OWNER_ROLE, socketUrl } from './address.ts'
import { pidFile, type Durability } from './cluster.ts'
import { takeLock, type Lock } from './lock.ts'
import { clusterRoot, dropSocketFolder, notedSocketFolder, settle, type Place } from './place.ts'
import { prepare, type Log } from './prepare.ts'
import { postgresOn } from './process.ts'
import { ensureRoles } from './roles.ts'
import { supervise } from './supervise.ts'

export { socketHost } from './address.ts'
export { FolderInUse } from './lock.ts'
export type { Log } from './prepare.ts'

/** For migrations (`ownerUrl`) and for features (`appUrl`). With postgres.js add `socketHost(url)` to the options. */
export type PostgresUrls = { ownerUrl: string; appUrl: string }
export type EmbeddedPostgres = PostgresUrls & {
  /** Folder of the Unix socket. */
  socket: string
  /** Fast shutdown, waited for. Close the pools first: open transactions are rolled back. */
  stop: () => Promise<void>
}
export type EmbeddedOptions = {
  dataDir: string
  log: Log
  /** `throwaway` trades what survives a power cut for speed: tests only. */
  durability?: Durability
}

const urls = (socket: string): PostgresUrls => ({
  ownerUrl: socketUrl(socket, OWNER_ROLE, DATABASE),
  appUrl: socketUrl(socket, APP_ROLE, DATABASE),
})

/**
 * Starts the PostgreSQL that lies under a data folder, makes it at the first start, and keeps it running: should it be
 * killed, it is started again. One process per data folder; whatever a killed one left behind is ended first.
 * @throws {FolderInUse} another living process has this folder
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const place = await settle(options.dataDir)
  const lock = await takeLock(place.lock)
  try {
    return await startLocked(options, place, lock)
  } catch (error) {
    await dropSocketFolder(place.socketNote)
    await lock.release()
    throw error
  }
}

async function startLocked({ log, durability = 'durable' }: EmbeddedOptions, place: Place, lock: Lock) {
  const began = performance.now()
  const { socket, made, start } = await prepare(place, log, durability)
  const watched = await supervise(start, log)
  try {
    await ensureRoles(socket)
  } catch (error) {
    await watched.stop()
    throw error
  }
  log.info({ ms: Math.round(performance.now() - began), made }, 'embedded PostgreSQL is ready')
  const stop = async () => {
    await watched.stop()
    await rm(socket, { recursive: true, force: true })
    await rm(place.socketNote, { force: true })
    await lock.release()
  }
  let stopping: Promise<void> | undefined
  return { ...urls(socket), socket, stop: () => (stopping ??= stop()) }
}

/**
 * Where the PostgreSQL of a data folder can be reached by another process of the same user (say `prime migrate` beside
 * a running server); undefined when it is not running.
 */
export async function embeddedPostgresUrl(dataDir: string): Promise<PostgresUrls | undefined> {
  const home = await realpath(dataDir).catch(() => undefined)
  if (home === undefined) return undefined
  const root = await clusterRoot(home)
  const data = join(root, 'data')
  const file = await pidFile(data)
  const socket = await notedSocketFolder(join(root, 'socket.path'))
  if (!file?.ready || !socket) return undefined
  return (await postgresOn(data, file.pid))[0] === file.pid ? urls(socket) : undefined
}
