import { readdir } from 'node:fs/promises'
import { Logger, runMigrations as migrateJobs } from 'graphile-worker'
import { Kysely, PostgresDialect, sql } from 'kysely'
import { Migrator, type Migration, type MigrationProvider } from 'kysely/migration'
import pg from 'pg'

/** A migration file: plain SQL both ways. `up` must be survived by the previous release (expand, then contract). */
export type MigrationFile = { up: string; down: string }

const folder = new URL('../../migrations/', import.meta.url)
const NAME = /^\d{4}_[a-z0-9_]+\.ts$/

const provider: MigrationProvider = {
  async getMigrations() {
    const names = (await readdir(folder)).filter((name) => NAME.test(name)).toSorted()
    const found: Record<string, Migration> = {}
    for (const name of names) {
      const file = (await import(new URL(name, folder).href)) as MigrationFile
      found[name.slice(0, -3)] = {
        up: (db) =>
          sql
            .raw(file.up)
            .execute(db)
            .then(() => undefined),
        down: (db) =>
          sql
            .raw(file.down)
            .execute(db)
            .then(() => undefined),
      }
    }
    return found
  },
}

/** A connection that breaks while idle fails the next statement, and does not end the process. */
function ownerPool(url: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  pool.on('error', () => undefined)
  pool.on('connect', (client) => client.on('error', () => undefined))
  return pool
}

async function withMigrator<T>(ownerUrl: string, use: (migrator: Migrator) => Promise<T>): Promise<T> {
  const pool = ownerPool(ownerUrl)
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool }) })
  try {
    return await use(new Migrator({ db, provider }))
  } finally {
    await db.destroy()
  }
}

/** Before the first release migrations may still be edited in place, and names come between those that were applied. */
const EARLIER_STATE =
  'If an earlier state from before the first release made it, there is no way up from it: keep what you need ' +
  '(pg_dump --data-only --table=users, for one), then let this release make it anew, with an empty DATA_DIR or after ' +
  '"drop schema public, graphile_worker cascade; create schema public".'

/** Kysely calls a database 'corrupted' whose migrations are not ours, in our order: another state of this program made it. */
function readable(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.startsWith('corrupted migrations')) return error
  const name = /executed migration (\w+) is missing/.exec(error.message)?.[1]
  const told =
    name === undefined
      ? 'The database holds migrations that are not those of this release, one after the other. '
      : `The database holds the migration ${name}, which this release does not know. If a newer release was here, start ` +
        'that one, or take its migrations back with it: prime migrate down. '
  return new Error(told + EARLIER_STATE, { cause: error })
}

const named = (results: { migrationName: string; status: string }[] | undefined): string[] =>
  (results ?? []).filter((r) => r.status === 'Success').map((r) => r.migrationName)

/**
 * Applies what is missing, under a lock, so that racing instances apply each once. The queue's own tables come first,
 * since ours grant rights on them.
 * @returns the names applied
 */
export async function migrateUp(ownerUrl: string): Promise<string[]> {
  const pool = ownerPool(ownerUrl)
  try {
    await migrateJobs({ pgPool: pool, logger: new Logger(() => () => undefined) })
  } finally {
    await pool.end()
  }
  return withMigrator(ownerUrl, async (migrator) => {
    const { error, results } = await migrator.migrateToLatest()
    if (error) throw readable(error)
    return named(results)
  })
}

/** Takes back the last `steps` migrations (default one). @returns the names taken back */
export async function migrateDown(ownerUrl: string, steps = 1): Promise<string[]> {
  return withMigrator(ownerUrl, async (migrator) => {
    const done: string[] = []
    for (let i = 0; i < steps; i++) {
      const { error, results } = await migrator.migrateDown()
      if (error) throw readable(error)
      if (!results?.length) break
      done.push(...named(results))
    }
    return done
  })
}

/** Each known migration with the time it was applied, null when it is still to come. */
export async function migrationStatus(ownerUrl: string): Promise<{ name: string; applied_at: Date | null }[]> {
  return withMigrator(ownerUrl, async (migrator) =>
    (await migrator.getMigrations()).map((m) => ({ name: m.name, applied_at: m.executedAt ?? null })),
  )
}
