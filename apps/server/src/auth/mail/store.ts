import { maybeOne, type Db, type Tx } from '../../platform/db/index.ts'

export type TokenKind = 'verify' | 'reset' | 'change_email' | 'sign_in'

export type NewMailToken = {
  hash: Buffer
  userId: string
  kind: TokenKind
  email: string
  lifeSeconds: number
  code: { mac: Buffer; lifeSeconds: number } | null
}

export const insertMailToken = (db: Db, t: NewMailToken) => db`
  insert into mail_tokens (hash, user_id, kind, email, code_mac, code_expires_at, expires_at)
  values (${t.hash}, ${t.userId}, ${t.kind}, ${t.email}, ${t.code?.mac ?? null},
          clock_timestamp() + make_interval(secs => ${t.code?.lifeSeconds ?? null}),
          clock_timestamp() + make_interval(secs => ${t.lifeSeconds}))`

export const deleteMailToken = (db: Db, hash: Buffer) => db`delete from mail_tokens where hash = ${hash}`

/**
 * After a proof, a new password or the end of access nothing counts that was mailed or wished before it: an address that
 * somebody else asked for must not take the account later. Call it with the user's row locked.
 */
export async function forgetMailedProofs(tx: Tx, userId: string): Promise<void> {
  await tx`delete from mail_tokens where user_id = ${userId}`
  await tx`delete from pending_emails where user_id = ${userId}`
}

export async function mailedLately(db: Db, userId: string, kind: TokenKind): Promise<number> {
  const rows = await db<{ count: bigint }[]>`
    select count(*) from mail_tokens
     where user_id = ${userId} and kind = ${kind} and created_at > clock_timestamp() - interval '1 hour'`
  return Number(rows[0]?.count ?? 0n)
}

export type MailToken = { hash: Buffer; user_id: string; kind: TokenKind; email: string }

/** Looks without using it up. */
export const findMailToken = (db: Db, hash: Buffer, kinds: TokenKind[]): Promise<MailToken | undefined> =>
  maybeOne(db<MailToken[]>`
    select hash, user_id, kind, email from mail_tokens
     where hash = ${hash} and kind = any (${kinds}) and expires_at > clock_timestamp()`)

/** Uses it up: of any number of takers one gets it. */
export const takeMailToken = (db: Db, hash: Buffer, kinds: TokenKind[]): Promise<MailToken | undefined> =>
  maybeOne(db<MailToken[]>`
    delete from mail_tokens where hash = ${hash} and kind = any (${kinds}) and expires_at > clock_timestamp()
    returning hash, user_id, kind, email`)

const MAX_TRIES = 5

/** Counts a try against the newest code sent to the address, before anything is compared; none when it is used up. */
export const tryCode = (
  db: Db,
  email: string,
  kinds: TokenKind[],
): Promise<(MailToken & { code_mac: Buffer }) | undefined> =>
  maybeOne(db<(MailToken & { code_mac: Buffer })[]>`
    update mail_tokens set tries = tries + 1
     where hash = (select hash from mail_tokens
                    where lower(email) = lower(${email}) and code_mac is not null and kind = any (${kinds})
                    order by created_at desc limit 1)
       and tries < ${MAX_TRIES} and code_expires_at > clock_timestamp()
    returning hash, user_id, kind, email, code_mac`)

/** Notes the address an account wants; the last wish counts. */
export const wishEmail = (db: Db, userId: string, email: string) => db`
  insert into pending_emails (user_id, email) values (${userId}, ${email})
  on conflict (user_id) do update set email = excluded.email, requested_at = clock_timestamp()`

export const wishedEmail = (db: Db, userId: string): Promise<{ email: string } | undefined> =>
  maybeOne(db<{ email: string }[]>`select email from pending_emails where user_id = ${userId}`)

/** @returns whether this still was the wish */
export async function takeWish(db: Db, userId: string, email: string): Promise<boolean> {
  const taken = await db`delete from pending_emails where user_id = ${userId} and email = ${email}`
  return taken.count === 1
}

/** Tokens and wishes that ran out go. */
export async function sweepMailTokens(db: Db): Promise<void> {
  await db`delete from mail_tokens where expires_at < clock_timestamp() - interval '1 hour'`
  await db`delete from pending_emails where requested_at < clock_timestamp() - interval '2 days'`
}
