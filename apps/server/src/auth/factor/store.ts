import { maybeOne, type Db, type Tx } from '../../platform/db/index.ts'

export type TotpRow = { sealed: Buffer; enabled: boolean }

/** Notes a secret that waits for its first code. @returns false when the account has the factor already */
export async function insertTotp(db: Db, userId: string, sealed: Buffer): Promise<boolean> {
  const made = await db`
    insert into totp_factors (user_id, sealed) values (${userId}, ${sealed})
    on conflict (user_id) do update set sealed = excluded.sealed, created_at = clock_timestamp()
      where totp_factors.enabled_at is null`
  return made.count === 1
}

/** An enabled factor, or one that was set up within the hour and waits. */
export const readTotp = (db: Db, userId: string): Promise<TotpRow | undefined> =>
  maybeOne(db<TotpRow[]>`
    select sealed, enabled_at is not null as enabled from totp_factors
     where user_id = ${userId} and (enabled_at is not null or created_at > clock_timestamp() - interval '1 hour')`)

/** Makes the waiting secret a factor; its first code is used up by it. @returns false when it is not the waiting one */
export async function enableTotp(tx: Tx, userId: string, sealed: Buffer, step: bigint): Promise<boolean> {
  const enabled = await tx`
    update totp_factors set enabled_at = clock_timestamp(), last_step = ${step}
     where user_id = ${userId} and sealed = ${sealed} and enabled_at is null`
  return enabled.count === 1
}

/** Uses a step up, with all older ones: of any number of takers one gets it. */
export async function takeStep(db: Db, userId: string, step: bigint): Promise<boolean> {
  const taken = await db`
    update totp_factors set last_step = ${step}
     where user_id = ${userId} and enabled_at is not null and last_step < ${step}`
  return taken.count === 1
}

/** Uses a recovery code up: of any number of takers one gets it. */
export async function takeRecoveryCode(db: Db, userId: string, hash: Buffer): Promise<boolean> {
  const taken = await db`delete from recovery_codes where user_id = ${userId} and hash = ${hash}`
  return taken.count === 1
}

/** The old ones go, the new ones count. */
export async function replaceRecoveryCodes(tx: Tx, userId: string, hashes: Buffer[]): Promise<void> {
  await tx`delete from recovery_codes where user_id = ${userId}`
  for (const hash of hashes) await tx`insert into recovery_codes (user_id, hash) values (${userId}, ${hash})`
}

type TotpGone = { authenticator: boolean; recovery_codes: number }

async function deleteTotpAndCodes(tx: Tx, userId: string): Promise<TotpGone> {
  const codes = await tx`delete from recovery_codes where user_id = ${userId}`
  const gone = await tx`delete from totp_factors where user_id = ${userId}`
  return { authenticator: gone.count === 1, recovery_codes: codes.count }
}

/** The factor goes with its recovery codes. @returns whether there was one */
export const deleteTotp = async (tx: Tx, userId: string): Promise<boolean> =>
  (await deleteTotpAndCodes(tx, userId)).authenticator

/**
 * One after another: changes of an account's factors, tokens and mailed proofs, and what signs in (`insertSession` takes
 * the same row). What was read before the wait may be over: look at it again in a statement of its own after this one.
 */
export const lockFactors = (tx: Tx, userId: string) => tx`select from users where id = ${userId} for no key update`

/** Secrets that nobody enabled within the hour go. */
export const sweepFactors = (db: Db) =>
  db`delete from totp_factors where enabled_at is null and created_at < clock_timestamp() - interval '1 hour'`

/** Every second factor of the account. @returns what there was */
export async function deleteFactors(tx: Tx, userId: string): Promise<TotpGone & { passkeys: number }> {
  const totp = await deleteTotpAndCodes(tx, userId)
  const passkeys = await tx`delete from passkeys where user_id = ${userId}`
  return { ...totp, passkeys: passkeys.count }
}

/** An authenticator app that is on, or a passkey. */
export async function hasFactor(db: Db, userId: string): Promise<boolean> {
  const found = await db`
    select from totp_factors where user_id = ${userId} and enabled_at is not null
    union all select from passkeys where user_id = ${userId} limit 1`
  return found.count > 0
}
