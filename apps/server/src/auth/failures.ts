import { maybeOne, type Db } from '../platform/db/index.ts'
import type { Secrets } from '../platform/secrets.ts'

/** What stands for an account, known or not: a MAC of its address as it was sent. */
export const accountMac = (secrets: Secrets, emailKey: string): Buffer => secrets.mac('sign-in-failures', emailKey)

/** Failed passwords since the last success. */
export async function failuresInARow(db: Db, account: Buffer): Promise<number> {
  const row = await maybeOne(db<{ in_a_row: number }[]>`
    select in_a_row from sign_in_failures where account = ${account}`)
  return row?.in_a_row ?? 0
}

export const countFailure = (db: Db, account: Buffer) => db`
  insert into sign_in_failures as f (account) values (${account})
  on conflict (account) do update set in_a_row = f.in_a_row + 1, last_at = clock_timestamp()`

export const forgetFailures = (db: Db, account: Buffer) => db`delete from sign_in_failures where account = ${account}`

export const sweepFailures = (db: Db) =>
  db`delete from sign_in_failures where last_at < clock_timestamp() - interval '30 days'`
