import type { Role, Scope } from '../../accounts/index.ts'
import { maybeOne, type Db, type Sql, type Tx } from '../../platform/db/index.ts'
import type { Page } from '../../platform/http/index.ts'

export type ApiTokenRow = {
  user_id: string
  secret_hash: Buffer
  scopes: Scope[]
  expires_at: Date
  last_used_at: Date | null
  role: Role
  is_verified: boolean
  plan_id: string
  tier: 'free' | 'premium'
  max_devices: number
  max_connections: number
  plan_expires_at: Date | null
  staff_has_factor: boolean | null
}

/** The check of a call by token, as `liveSessions` is that of sessions. */
export const liveApiToken = (db: Db, id: string, userId: string): Promise<ApiTokenRow | undefined> =>
  maybeOne(db<ApiTokenRow[]>`
    select user_id, secret_hash, scopes, expires_at, last_used_at, role, is_verified, plan_id, tier, max_devices,
           max_connections, plan_expires_at, staff_has_factor
      from live_api_tokens where id = ${id} and user_id = ${userId}`)

/** To the minute: not every call writes. */
export const noteApiTokenUse = (db: Db, id: string) => db`
  update api_tokens set last_used_at = clock_timestamp()
   where id = ${id} and (last_used_at is null or last_used_at < clock_timestamp() - interval '1 minute')`

export type ApiToken = {
  id: string
  name: string
  scopes: Scope[]
  created_at: Date
  expires_at: Date
  last_used_at: Date | null
}

const shown = (db: Db) => (db as Sql)`id, name, scopes, created_at, expires_at, last_used_at`

export type NewApiToken = { id: string; userId: string; name: string; hash: Buffer; scopes: Scope[]; expiresAt: Date }

/** @returns undefined when the user has `most` already; tokens that ran out do not count. Call it with the user locked. */
export const insertApiToken = (tx: Tx, t: NewApiToken, most: number): Promise<ApiToken | undefined> =>
  maybeOne(tx<ApiToken[]>`
    insert into api_tokens (id, user_id, name, secret_hash, scopes, expires_at)
    select ${t.id}, ${t.userId}, ${t.name}, ${t.hash}, ${t.scopes}, ${t.expiresAt}
     where (select count(*) from api_tokens where user_id = ${t.userId} and expires_at > clock_timestamp()) < ${most}
    returning ${shown(tx)}`)

export async function listApiTokens(db: Db, userId: string, page: Page): Promise<{ rows: ApiToken[]; total: number }> {
  const rows = await db<ApiToken[]>`
    select ${shown(db)} from api_tokens where user_id = ${userId}
     order by created_at desc, id limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from api_tokens where user_id = ${userId}`
  return { rows, total: Number(total) }
}

/** @returns whether it was this user's */
export async function deleteApiToken(db: Db, id: string, userId: string): Promise<boolean> {
  const gone = await db`delete from api_tokens where id = ${id} and user_id = ${userId}`
  return gone.count === 1
}

export const deleteApiTokens = (db: Db, userId: string) => db`delete from api_tokens where user_id = ${userId}`

/** Tokens that ran out stay in the owner's list for a month. */
export const sweepApiTokens = (db: Db) =>
  db`delete from api_tokens where expires_at < clock_timestamp() - interval '30 days'`
