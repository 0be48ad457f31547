import type { Redis } from 'ioredis'
import { migrateUp, openPool, type Sql } from './platform/db/index.ts'
import type { Config } from './platform/config/index.ts'
import { freePort } from './platform/free-port.ts'
import { memoryKv, redisKv, type Kv } from './platform/kv/index.ts'
import type { Log } from './platform/log.ts'
import { startEmbeddedPostgres } from './platform/postgres/index.ts'
import { initSecrets, loadSecrets, type Secrets } from './platform/secrets.ts'

const APP_ROLE = 'prime_app'

/** What every room stands on, started in order; `stop` ends it in the reverse order. */
export type Foundation = {
  sql: Sql
  /** For programs of their own pool (the job queue): the address and the role to take on. */
  database: { url: string; role: string | undefined }
  kv: Kv
  /** The client behind `kv`, for scripts that run in Redis; undefined without one. */
  redis: Redis | undefined
  secrets: Secrets
  embedded: boolean
  stop(): Promise<void>
}

type Database = { ownerUrl: string; appUrl: string; embedded: boolean; stop(): Promise<void> }

async function openDatabase(config: Config, log: Log): Promise<Database> {
  if (config.DATABASE_URL) {
    const url = config.DATABASE_URL
    return { ownerUrl: config.MIGRATE_DATABASE_URL ?? url, appUrl: url, embedded: false, stop: async () => undefined }
  }
  return { ...(await startEmbeddedPostgres({ dataDir: config.DATA_DIR, log })), embedded: true }
}

/** The role to drop to: ours where the login may take it on, none where the operator's own login has no such right. */
async function runtimeRole(url: string, log: Log): Promise<string | undefined> {
  const sql = openPool(url, { max: 1 })
  try {
    const [row] = await sql<{ fits: boolean }[]>`
      select exists (select from pg_roles where rolname = ${APP_ROLE}) and pg_has_role(current_user, ${APP_ROLE}, 'member') as fits`
    if (row?.fits) return APP_ROLE
    log.warn('the database login cannot take on the role prime_app: the service runs with the rights of its login')
    return undefined
  } finally {
    await sql.end({ timeout: 1 })
  }
}

/** Two instances with different secrets could not read each other's sealed rows: the second refuses to start. */
async function assertSameSecrets(sql: Sql, secrets: Secrets): Promise<void> {
  const [row] = await sql<{ secrets_fingerprint: string }[]>`
    insert into installation (id, secrets_fingerprint) values (gen_random_uuid(), ${secrets.fingerprint})
    on conflict (only_one) do update
       set secrets_fingerprint = coalesce(installation.secrets_fingerprint, excluded.secrets_fingerprint)
    returning secrets_fingerprint`
  if (row?.secrets_fingerprint !== secrets.fingerprint) {
    throw new Error('SECRETS_FILE is not the one this database was started with. Put the right file in place.')
  }
}

/** @throws an error that says that it is the database which is not to be had: the driver's own names only an address */
async function bringUp(ownerUrl: string): Promise<string[]> {
  try {
    return await migrateUp(ownerUrl)
  } catch (error) {
    throw new Error(`The database cannot be brought up: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * `PORT=0` without `PUBLIC_URL`: links and tokens name our address long before we listen, so the free port is looked up
 * first. @throws the system's error when HOST is no address of ours
 */
export async function withRealPort(config: Config): Promise<Config> {
  if (config.PORT !== 0 || config.PUBLIC_URL !== undefined) return config
  return { ...config, PORT: await freePort(config.HOST) }
}

/** Brings up secrets, database (migrated), pool and key-value store. @throws a readable message when one is not to be had */
export async function startFoundation(config: Config, log: Log): Promise<Foundation> {
  const stops: (() => Promise<void>)[] = []
  const stop = async () => {
    for (const end of stops.splice(0).toReversed()) await end().catch((err: unknown) => log.warn({ err }, 'stopping'))
  }
  try {
    if (!config.production) await initSecrets(config.SECRETS_FILE)
    const secrets = await loadSecrets(config.SECRETS_FILE)
    const database = await openDatabase(config, log)
    stops.push(() => database.stop())
    const applied = await bringUp(database.ownerUrl)
    if (applied.length > 0) log.info({ applied }, 'migrated')
    const role = await runtimeRole(database.appUrl, log)
    const sql = openPool(database.appUrl, { max: config.DATABASE_POOL, ...(role ? { role } : {}) })
    stops.push(() => sql.end({ timeout: 5 }))
    await assertSameSecrets(sql, secrets)
    const shared = config.REDIS_URL ? await redisKv(config.REDIS_URL, log) : undefined
    const kv = shared ?? memoryKv()
    stops.push(() => kv.close())
    return {
      sql,
      database: { url: database.appUrl, role },
      kv,
      redis: shared?.client,
      secrets,
      embedded: database.embedded,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
