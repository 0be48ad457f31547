import { batched, maybeOne, type Db, type Sql, type Tx } from '../../platform/db/index.ts'
import type { Page } from '../../platform/http/index.ts'
import type { Role } from '../../accounts/index.ts'

/** How the family was opened; a refresh token works only where its kind is issued. */
export type SessionKind = 'token' | 'cookie' | 'oauth'

export type SessionRow = {
  kind: SessionKind
  role: Role
  is_verified: boolean
  must_change_password: boolean
  expires_at: Date
  plan_id: string
  tier: 'free' | 'premium'
  max_devices: number
  max_connections: number
  plan_expires_at: Date | null
  opened_at: Date
  last_used_at: Date
  /** Whether staff has a second factor; null for customers, whom nobody asks. */
  staff_has_factor: boolean | null
  /** SHA-256 of a cookie's random part. */
  secret_hash: Buffer | null
}

/**
 * Reads live sessions, with whatever else their route shows: one round trip instead of two.
 * @returns rows in any order, `nth` telling (from 1) which of the asked ones a row answers
 */
export type SessionQuery = (
  db: Db,
  ids: readonly string[],
  userIds: readonly string[],
) => Promise<readonly (SessionRow & { nth: number })[]>

/** The check of every signed-in request: session alive, user active, and what its plan allows, by primary keys alone. */
export const liveSessions: SessionQuery = (db, ids, userIds) => db`
  select k.nth::int, l.kind, l.role, l.is_verified, l.must_change_password, l.expires_at, l.plan_id, l.tier,
         l.max_devices, l.max_connections, l.plan_expires_at, l.opened_at, l.last_used_at, l.staff_has_factor,
         l.secret_hash
    from unnest(${ids}::uuid[], ${userIds}::uuid[]) with ordinality k (id, user_id, nth)
    join live_sessions l on l.id = k.id and l.user_id = k.user_id`

/** @returns undefined once the session ended or its user is off */
export type SessionReader = (query: SessionQuery, id: string, userId: string) => Promise<SessionRow | undefined>

/**
 * Reads sessions; requests that come at once share a statement. Nothing is remembered between requests, so a revocation
 * holds at once on every instance.
 */
export function sessionReader(db: Db): SessionReader {
  type Key = { id: string; userId: string }
  const readers = new Map<SessionQuery, (key: Key) => Promise<SessionRow | undefined>>()
  const readerOf = (query: SessionQuery) => {
    const known = readers.get(query)
    if (known) return known
    const reader = batched<Key, SessionRow>(async (keys) => {
      const rows: (SessionRow | undefined)[] = Array.from({ length: keys.length })
      const [ids, userIds] = [keys.map(({ id }) => id), keys.map(({ userId }) => userId)]
      for (const row of await query(db, ids, userIds)) rows[row.nth - 1] = row
      return rows
    })
    readers.set(query, reader)
    return reader
  }
  return (query, id, userId) => readerOf(query)({ id, userId })
}

export type NewSession = {
  id: string
  userId: string
  /** What the account was judged by, lifetimes among it: another role meanwhile opens nothing. */
  role: Role
  kind: SessionKind
  deviceName: string | null
  client: string | null
  /** ISO 3166-1 alpha-2, of the address the sign-in came from; the address itself is not kept. */
  country: string | null
  mustChangePassword: boolean
  idleSeconds: number
  absoluteSeconds: number
  /** The hash that was just checked: a password or a state changed meanwhile opens nothing. */
  hashedPassword: string | null
  /** A second factor was proven as well; without, an account that has one opens nothing. */
  factorProven?: boolean
  /** The passkey it was proven by: one that was removed meanwhile opens nothing. */
  passkeyId?: string
  /** In production a passkey is a factor that staff has to prove; a customer's leaves the password what it is. */
  production: boolean
  /** Of a cookie's random part. */
  secretHash?: Buffer
}

/**
 * Opens a session if the account is still as it was judged. The user's row is locked by a statement of its own: whoever
 * changes password, role or factors holds it (`lockFactors`), and only a statement that begins after the wait sees what
 * they wrote.
 * @returns false when the account is not as it was judged
 */
export async function insertSession(tx: Tx, s: NewSession): Promise<boolean> {
  await tx`select from users where id = ${s.userId} for share`
  const made = await tx`
    insert into sessions (id, user_id, kind, device_name, client, country, must_change_password, secret_hash, idle_expires_at, expires_at)
    select ${s.id}, u.id, ${s.kind}, ${s.deviceName}, ${s.client}, ${s.country}, ${s.mustChangePassword}, ${s.secretHash ?? null},
           clock_timestamp() + make_interval(secs => ${Math.min(s.idleSeconds, s.absoluteSeconds)}),
           clock_timestamp() + make_interval(secs => ${s.absoluteSeconds})
      from users u
     where u.id = ${s.userId} and u.is_active and u.role = ${s.role}
       and u.hashed_password is not distinct from ${s.hashedPassword}
       and (${s.factorProven ?? false}
            or (not exists (select from totp_factors f where f.user_id = u.id and f.enabled_at is not null)
                and (u.role = 'user' or not ${s.production}
                     or not exists (select from passkeys p where p.user_id = u.id))))
       and (${s.passkeyId ?? null}::uuid is null
            or exists (select from passkeys p where p.id = ${s.passkeyId ?? null} and p.user_id = u.id))`
  return made.count === 1
}

/** Whether the session, or the API token, of this id is alive at this moment. */
export async function isAlive(db: Db, id: string, userId: string): Promise<boolean> {
  const found = await db`
    select from live_sessions where id = ${id} and user_id = ${userId}
    union all select from live_api_tokens where id = ${id} and user_id = ${userId} limit 1`
  return found.count === 1
}

export const insertRefreshToken = (db: Db, hash: Buffer, sessionId: string) =>
  db`insert into refresh_tokens (hash, session_id) values (${hash}, ${sessionId})`

export type RefreshRow = {
  session_id: string
  user_id: string
  role: Role
  kind: SessionKind
  alive: boolean
  used: boolean
  /** Used no more than the grace ago, and what it was changed for has not been used. */
  may_be_fetched_again: boolean
  answer: Buffer | null
}

/** Seconds in which a lost answer may be fetched again. */
const GRACE_S = 10

/** The token's row, its session locked: rotations and revocations of one family follow one another. */
export async function lockRefreshToken(tx: Tx, hash: Buffer): Promise<RefreshRow | undefined> {
  const session = await maybeOne(tx<{ id: string }[]>`
    select s.id from sessions s where s.id = (select session_id from refresh_tokens where hash = ${hash}) for no key update`)
  if (!session) return undefined
  return maybeOne(tx<RefreshRow[]>`
    select s.id as session_id, s.user_id, u.role, s.kind, r.answer, r.used_at is not null as used,
           s.revoked_at is null and u.is_active and s.expires_at > clock_timestamp()
             and s.idle_expires_at > clock_timestamp() as alive,
           r.used_at is not null and r.used_at > clock_timestamp() - make_interval(secs => ${GRACE_S})
             and not exists (select from refresh_tokens n where n.hash = r.successor and n.used_at is not null)
             as may_be_fetched_again
      from refresh_tokens r
      join sessions s on s.id = r.session_id
      join users u on u.id = s.user_id
     where r.hash = ${hash}`)
}

/** Uses `hash` up for `next` and lets the session live on; sealed answers of earlier rotations go. */
export async function rotateRefreshToken(
  tx: Tx,
  turn: { hash: Buffer; next: Buffer; sessionId: string; answer: Buffer; idleSeconds: number },
): Promise<void> {
  await tx`update refresh_tokens set answer = null where session_id = ${turn.sessionId} and answer is not null`
  await insertRefreshToken(tx, turn.next, turn.sessionId)
  await tx`
    update refresh_tokens set used_at = clock_timestamp(), successor = ${turn.next}, answer = ${turn.answer}
     where hash = ${turn.hash}`
  await tx`
    update sessions
       set last_used_at = clock_timestamp(),
           idle_expires_at = least(expires_at, clock_timestamp() + make_interval(secs => ${turn.idleSeconds}))
     where id = ${turn.sessionId}`
}

/** A use by cookie: what a refresh does for a session by tokens. @param idleSeconds until it ends unless used again */
export const touchSession = (db: Db, id: string, idleSeconds: number) => db`
  update sessions
     set last_used_at = clock_timestamp(),
         idle_expires_at = least(expires_at, clock_timestamp() + make_interval(secs => ${idleSeconds}))
   where id = ${id} and revoked_at is null`

/** @returns whether there was a live session of this user to end */
export async function revokeSession(db: Db, id: string, userId: string): Promise<boolean> {
  const ended = await db`
    update sessions set revoked_at = clock_timestamp()
     where id = ${id} and user_id = ${userId} and revoked_at is null and expires_at > clock_timestamp()
       and idle_expires_at > clock_timestamp()`
  return ended.count === 1
}

/** Ends every session of the user but `except`. @returns their ids */
export async function revokeSessions(db: Db, userId: string, except: string | null = null): Promise<string[]> {
  const ended = await db<{ id: string }[]>`
    update sessions set revoked_at = clock_timestamp()
     where user_id = ${userId} and revoked_at is null and id is distinct from ${except}::uuid
    returning id`
  return ended.map(({ id }) => id)
}

export const clearMustChange = (db: Db, id: string) =>
  db`update sessions set must_change_password = false where id = ${id}`

export type ListedSession = {
  id: string
  device_name: string | null
  client: string | null
  country: string | null
  created_at: Date
  last_used_at: Date
}

const live = (db: Db, userId: string) =>
  (db as Sql)`user_id = ${userId} and revoked_at is null and expires_at > clock_timestamp()
    and idle_expires_at > clock_timestamp()`

export async function listSessions(
  db: Db,
  userId: string,
  page: Page,
): Promise<{ rows: ListedSession[]; total: number }> {
  const rows = await db<ListedSession[]>`
    select id, device_name, client, country, created_at, last_used_at from sessions where ${live(db, userId)}
     order by last_used_at desc, id limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from sessions where ${live(db, userId)}`
  return { rows, total: Number(total) }
}

/** Sessions that ended a day ago go, with their tokens; so do sealed answers whose grace is over. */
export async function sweepSessions(db: Db): Promise<void> {
  await db`
    delete from sessions
     where least(coalesce(revoked_at, expires_at), expires_at, idle_expires_at) < clock_timestamp() - interval '1 day'`
  await db`update refresh_tokens set answer = null where answer is not null and used_at < clock_timestamp() - interval '1 minute'`
}
