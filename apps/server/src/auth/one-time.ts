import { maybeOne, type Db } from '../platform/db/index.ts'

/** The account's password was made by us and still is good, is no longer good, or is the user's own. */
export async function oneTimeState(db: Db, userId: string): Promise<'good' | 'expired' | 'none'> {
  const row = await maybeOne(db<{ good: boolean }[]>`
    select expires_at > clock_timestamp() as good from one_time_passwords where user_id = ${userId}`)
  if (!row) return 'none'
  return row.good ? 'good' : 'expired'
}

/** Marks the present password as ours for `lifeSeconds`. */
export const markOneTime = (db: Db, userId: string, lifeSeconds: number) => db`
  insert into one_time_passwords (user_id, expires_at)
  values (${userId}, clock_timestamp() + make_interval(secs => ${lifeSeconds}))
  on conflict (user_id) do update set created_at = clock_timestamp(), expires_at = excluded.expires_at`

/** The user has chosen a password: no end, no duty. */
export const clearOneTime = (db: Db, userId: string) => db`delete from one_time_passwords where user_id = ${userId}`

/** When the present one-time password of an account was made, with the row locked. */
export const oneTimeMadeAt = (db: Db, userId: string): Promise<{ created_at: Date } | undefined> =>
  maybeOne(db<{ created_at: Date }[]>`
    select created_at from one_time_passwords where user_id = ${userId} for update`)
