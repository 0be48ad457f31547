import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { migrateUp, openPool, type Sql } from '../apps/server/src/platform/db/index.ts'
import { startEmbeddedPostgres } from '../apps/server/src/platform/postgres/index.ts'

const silent = { info() {}, warn: console.warn, error: console.error }

/** A migrated PostgreSQL of its own on disk, with fsync and synchronous commit as in production, for as long as `use` runs. */
export async function withDurableDatabase(
  use: (db: { sql: Sql; owner: Sql; ownerUrl: string }) => Promise<void>,
  connections = 32,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'prime-bench-'))
  const postgres = await startEmbeddedPostgres({ dataDir: folder, log: silent })
  const pools: Sql[] = []
  try {
    await migrateUp(postgres.ownerUrl)
    const owner = openPool(postgres.ownerUrl, { max: connections })
    const sql = openPool(postgres.appUrl, { max: connections })
    pools.push(owner, sql)
    await use({ sql, owner, ownerUrl: postgres.ownerUrl })
  } finally {
    await Promise.all(pools.map((pool) => pool.end({ timeout: 1 })))
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

export const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0

/** The value below which this share of the list lies. */
export const quantile = (list: readonly number[], share: number): number =>
  list.toSorted((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0

/** Runs `work` `total` times, `clients` at once. @returns milliseconds of all, and of each */
export async function race(
  clients: number,
  total: number,
  work: (n: number) => Promise<unknown>,
): Promise<{ wall: number; each: number[] }> {
  const each: number[] = []
  let next = 0
  const began = performance.now()
  const client = async (): Promise<void> => {
    for (let n = next++; n < total; n = next++) {
      const at = performance.now()
      await work(n)
      each.push(performance.now() - at)
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  return { wall: performance.now() - began, each }
}
