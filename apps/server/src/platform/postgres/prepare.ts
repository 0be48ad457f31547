import { rm } from 'node:fs/promises'
import { socketFile } from './address.ts'
import { findBinaries } from './binaries.ts'
import {
  checkVersion,
  clearRemains,
  initCluster,
  startPostmaster,
  type Durability,
  type Postmaster,
} from './cluster.ts'
import { socketFolder, SYSTEM_HOME, type Place } from './place.ts'

/** The part of pino's logger used here. */
export type Log = {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export type Prepared = {
  socket: string
  /** True when the cluster was made just now. */
  made: boolean
  /** Starts the server; may be called again after it ended. */
  start: () => Promise<Postmaster>
}

/** Everything before the start: programs, version, an empty cluster when there is none, an end to what is left over. */
export async function prepare(place: Place, log: Log, durability: Durability): Promise<Prepared> {
  const binaries = await findBinaries(place.account, place.account ? SYSTEM_HOME : place.root)
  const made = (await checkVersion(place.data, binaries.major)) === 'empty'
  if (made) await initCluster(binaries, place, durability)
  const left = await clearRemains(place.data)
  if (left) log.warn({ processes: left }, 'ended what an earlier run had left of PostgreSQL')
  const socket = await socketFolder(place)
  const start = async () => {
    await clearRemains(place.data)
    for (const file of [socketFile(socket), `${socketFile(socket)}.lock`]) await rm(file, { force: true })
    return startPostmaster(binaries, place, socket, durability)
  }
  return { socket, made, start }
}
