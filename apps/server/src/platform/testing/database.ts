import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { Client } from 'pg'
import { migrateUp, openPool, type Sql } from '../db/index.ts'
import { ADMIN_ROLE, APP_ROLE, OWNER_ROLE, socketUrl } from '../postgres/address.ts'
import { startOf, until } from '../postgres/process.ts'
import { testCluster } from './cluster.ts'
import { defer, type Scope } from './defer.ts'

export type FreshDatabase = {
  /** For features. */
  url: string
  /** For migrations and for looking where features may not. */
  ownerUrl: string
  /** A pool of the feature role, closed with the scope. */
  sql: Sql
  /** A pool of the owner, closed with the scope. */
  owner: Sql
}

const folder = new URL('../../migrations/', import.meta.url)
/** Any number: builders of a template hold it alone, those who clone hold it together. */
const TURN = 7_460_001
const TEMPLATES_KEPT = 4

async function asAdmin<T>(use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: socketUrl(await testCluster(), ADMIN_ROLE, 'postgres') })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/** Names what a migrated database looks like: the migrations' text, and the release of the queue that adds its tables. */
async function templateName(): Promise<string> {
  const hash = createHash('sha256')
  for (const name of (await readdir(folder)).toSorted()) {
    if (/^\d{4}_\w+\.ts$/.test(name)) hash.update(name).update(await readFile(new URL(name, folder)))
  }
  hash.update(await readFile(new URL('../package.json', import.meta.resolve('graphile-worker'))))
  return `template_${hash.digest('hex').slice(0, 16)}`
}

const exists = async (client: Client, name: string): Promise<boolean> =>
  (await client.query('select from pg_database where datname = $1', [name])).rowCount === 1

/** Builds the template under another name, so that a half migrated one is never cloned; old ones go. */
async function buildTemplate(client: Client, name: string): Promise<void> {
  const growing = `${name}_new`
  await client.query(`drop database if exists ${growing} with (force)`)
  await client.query(`create database ${growing} owner ${OWNER_ROLE}`)
  await migrateUp(socketUrl(await testCluster(), OWNER_ROLE, growing))
  await client.query(`alter database ${growing} rename to ${name}`)
  const { rows } = await client.query<{ datname: string }>(
    `select datname from pg_database where datname like 'template\\_%' order by oid desc offset ${TEMPLATES_KEPT}`,
  )
  for (const { datname } of rows) await client.query(`drop database ${datname} with (force)`)
}

/** Databases are named after the process that made them; one that was killed could not drop its own. */
async function dropOrphans(client: Client): Promise<void> {
  const { rows } = await client.query<{ datname: string }>(`select datname from pg_database where datname like 't\\_%'`)
  for (const { datname } of rows) {
    const maker = Number(datname.split('_')[1])
    if (!(await startOf(maker))) await client.query(`drop database if exists ${datname} with (force)`)
  }
}

/** Milliseconds that connections which were just ended get to leave; a pool hears of a cut one as an error. */
const LEAVE_MS = 500

async function drop(client: Client, name: string): Promise<void> {
  const empty = async () =>
    (await client.query('select from pg_stat_activity where datname = $1', [name])).rowCount === 0
  await until(empty, LEAVE_MS)
  await client.query(`drop database if exists ${name} with (force)`)
}

async function clone(name: string): Promise<void> {
  const template = await templateName()
  await asAdmin(async (client) => {
    if (!process.env.PRIME_TEST_POSTGRES) await dropOrphans(client)
    for (;;) {
      await client.query('select pg_advisory_lock_shared($1)', [TURN])
      if (await exists(client, template)) break
      await client.query('select pg_advisory_unlock_shared($1)', [TURN])
      await client.query('select pg_advisory_lock($1)', [TURN])
      if (!(await exists(client, template))) await buildTemplate(client, template)
      await client.query('select pg_advisory_unlock($1)', [TURN])
    }
    await client.query(`create database ${name} template ${template} owner ${OWNER_ROLE}`)
  })
}

/**
 * A migrated database of its own for one test or one file, dropped with its scope. About 30 ms; a template for changed
 * migrations is built by the first who asks.
 */
export async function freshDatabase(scope: Scope): Promise<FreshDatabase> {
  const name = `t_${process.pid}_${randomBytes(6).toString('hex')}`
  await clone(name)
  const socket = await testCluster()
  const url = socketUrl(socket, APP_ROLE, name)
  const ownerUrl = socketUrl(socket, OWNER_ROLE, name)
  const sql = openPool(url)
  const owner = openPool(ownerUrl, { max: 3 })
  defer(scope, async () => {
    await Promise.all([sql.end({ timeout: 1 }), owner.end({ timeout: 1 })])
    await asAdmin((client) => drop(client, name))
  })
  return { url, ownerUrl, sql, owner }
}
