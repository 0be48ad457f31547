import { maybeOne, type Db, type Tx } from '../../platform/db/index.ts'
import type { Page } from '../../platform/http/index.ts'

export type Passkey = {
  id: string
  name: string
  backed_up: boolean
  created_at: Date
  last_used_at: Date | null
}

export type StoredCredential = {
  id: string
  user_id: string
  credential_id: Buffer
  public_key: Buffer
  sign_count: bigint
}

export type NewPasskey = {
  id: string
  userId: string
  credentialId: Buffer
  publicKey: Buffer
  signCount: number
  transports: string[]
  name: string
  backedUp: boolean
}

/** @returns undefined when the user has `most` already; call it with the user locked. @throws unique `passkeys_credential_id_key` */
export const insertPasskey = (tx: Tx, p: NewPasskey, most: number): Promise<Passkey | undefined> =>
  maybeOne(tx<Passkey[]>`
    insert into passkeys (id, user_id, credential_id, public_key, sign_count, transports, name, backed_up)
    select ${p.id}, ${p.userId}, ${p.credentialId}, ${p.publicKey}, ${p.signCount}, ${p.transports}, ${p.name}, ${p.backedUp}
     where (select count(*) from passkeys where user_id = ${p.userId}) < ${most}
    returning id, name, backed_up, created_at, last_used_at`)

export const passkeyById = (db: Db, id: string, userId: string): Promise<Passkey | undefined> =>
  maybeOne(db<Passkey[]>`
    select id, name, backed_up, created_at, last_used_at from passkeys where id = ${id} and user_id = ${userId}`)

export const credentialById = (db: Db, credentialId: Buffer): Promise<StoredCredential | undefined> =>
  maybeOne(db<StoredCredential[]>`
    select id, user_id, credential_id, public_key, sign_count from passkeys where credential_id = ${credentialId}`)

export const credentialsOf = (db: Db, userId: string) => db<{ credential_id: Buffer; transports: string[] }[]>`
  select credential_id, transports from passkeys where user_id = ${userId}`

/** Notes a use. Devices that count do so upwards: a count that does not is a copy. @returns false for such a one */
export async function noteUse(db: Db, id: string, count: number, backedUp: boolean): Promise<boolean> {
  const noted = await db`
    update passkeys set sign_count = ${count}, backed_up = ${backedUp}, last_used_at = clock_timestamp()
     where id = ${id} and (sign_count < ${count} or (sign_count = 0 and ${count}::bigint = 0))`
  return noted.count === 1
}

export async function hasPasskey(db: Db, userId: string): Promise<boolean> {
  const found = await db`select from passkeys where user_id = ${userId} limit 1`
  return found.count > 0
}

export async function listPasskeys(db: Db, userId: string, page: Page): Promise<{ rows: Passkey[]; total: number }> {
  const rows = await db<Passkey[]>`
    select id, name, backed_up, created_at, last_used_at from passkeys where user_id = ${userId}
     order by created_at desc, id limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from passkeys where user_id = ${userId}`
  return { rows, total: Number(total) }
}

/** @returns whether it was this user's */
export async function deletePasskey(tx: Tx, id: string, userId: string): Promise<boolean> {
  const gone = await tx`delete from passkeys where id = ${id} and user_id = ${userId}`
  return gone.count === 1
}
