import { maybeOne, type Db, type Sql, type Tx } from '../../platform/db/index.ts'
import type { Role } from '../../accounts/index.ts'

export type GrantSession = {
  session_id: string
  user_id: string
  role: Role
  email: string | null
  is_verified: boolean
}

/** The live session of a consent; undefined once it ended or its user is switched off. */
export const sessionOfGrant = (db: Db, grantHash: Buffer): Promise<GrantSession | undefined> =>
  maybeOne(db<GrantSession[]>`
    select l.id as session_id, l.user_id, l.role, u.email, l.is_verified
      from oauth_grants g join live_sessions l on l.id = g.session_id join users u on u.id = l.user_id
     where g.grant_hash = ${grantHash}`)

export const insertGrant = (tx: Tx, grantHash: Buffer, sessionId: string, clientId: string) =>
  tx`insert into oauth_grants (grant_hash, session_id, client_id) values (${grantHash}, ${sessionId}, ${clientId})`

/** The session was used: it lives on for its idle time. */
export const touchGrant = (db: Db, grantHash: Buffer, idleSeconds: number) => db`
  update sessions s
     set last_used_at = clock_timestamp(),
         idle_expires_at = least(s.expires_at, clock_timestamp() + make_interval(secs => ${idleSeconds}))
    from oauth_grants g where g.grant_hash = ${grantHash} and s.id = g.session_id and s.revoked_at is null`

type Ended = { userId: string; sessionId: string }

/** Ends what was given under a consent: its session, codes and tokens. @returns what to announce */
export const endGrant = (db: Sql, grantHash: Buffer): Promise<Ended | undefined> =>
  db.begin(async (tx) => {
    await tx`delete from oauth_artifacts where grant_hash = ${grantHash}`
    return maybeOne(tx<Ended[]>`
      update sessions s set revoked_at = clock_timestamp()
        from oauth_grants g where g.grant_hash = ${grantHash} and s.id = g.session_id and s.revoked_at is null
      returning s.user_id as "userId", s.id as "sessionId"`)
  })

/** Ends the grant behind an access token. */
export async function grantOfSession(db: Db, sessionId: string, clientId: string): Promise<Buffer | undefined> {
  const row = await maybeOne(db<{ grant_hash: Buffer }[]>`
    select grant_hash from oauth_grants where session_id = ${sessionId} and client_id = ${clientId}`)
  return row?.grant_hash
}

/** Ends every session that an app was given. @returns what to announce */
export const endGrantsOfClient = (tx: Tx, clientId: string) => tx<Ended[]>`
  update sessions s set revoked_at = clock_timestamp()
    from oauth_grants g where g.client_id = ${clientId} and s.id = g.session_id and s.revoked_at is null
  returning s.user_id as "userId", s.id as "sessionId"`
