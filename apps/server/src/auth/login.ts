import { isStaff, type Credentials } from '../accounts/index.ts'
import type { Tx } from '../platform/db/index.ts'
import type { Caller } from './factor/prove.ts'
import { hasFactor } from './factor/store.ts'
import type { Parts, SubscriptionBrief } from './parts.ts'
import { wrongPassword, type Proven } from './prove.ts'
import { readSelfProving } from './self-proving.ts'
import { openCookieSession, openTokenSession, type TokenPair } from './session/open.ts'
import { revokeSession } from './session/store.ts'

/** How the new session is shown in the list of sessions. */
export type Shown = { deviceName: string | null; client: string | null; country: string | null }

export type SignedInUser = {
  id: string
  email: string | null
  role: string
  subscription_status: SubscriptionBrief['status']
  subscription_expiry: Date | null
}
/** What the new session must do before anything else. */
export type Duties = { password_change_required?: true; factor_setup_required?: true }
export type SignedIn = TokenPair & { user: SignedInUser } & Duties

export async function userShown(parts: Parts, account: Credentials): Promise<SignedInUser> {
  const { status, expiry } = await parts.subscriptionOf(account.id)
  return {
    id: account.id,
    email: account.email,
    role: account.role,
    subscription_status: status,
    subscription_expiry: expiry,
  }
}

export async function dutiesOf(parts: Parts, { account, mustChangePassword }: Proven): Promise<Duties> {
  const factorMissing = parts.config.production && isStaff(account.role) && !(await hasFactor(parts.db, account.id))
  return {
    ...(mustChangePassword ? { password_change_required: true } : {}),
    ...(factorMissing ? { factor_setup_required: true } : {}),
  }
}

/** A session by tokens for who has just proven an account. @throws {Unauthenticated} it was changed meanwhile */
export async function signInByToken(parts: Parts, proven: Proven, shown: Shown, caller: Caller): Promise<SignedIn> {
  const { account, ...how } = proven
  const pair = await parts.db.begin((tx) => openTokenSession(parts, tx, account, { ...shown, ...how }))
  if (!pair) throw wrongPassword()
  caller.log.info({ user_id: account.id }, 'signed in')
  return {
    ...pair,
    user: await userShown(parts, account),
    ...(await dutiesOf(parts, proven)),
  }
}

/**
 * Ends the session of the cookie that the browser sent along, when it is the same user's: the new cookie takes its place,
 * and the old one would live on with nobody to sign it out.
 * @returns its id
 */
async function endReplaced(parts: Parts, tx: Tx, userId: string, { req }: Caller): Promise<string | undefined> {
  const cookie = parts.cookies.read(req)
  const proven = cookie === undefined ? undefined : readSelfProving(parts.secrets, 'cookie', cookie)
  if (proven === undefined || typeof proven === 'string' || proven.userId !== userId) return undefined
  return (await revokeSession(tx, proven.id, userId)) ? proven.id : undefined
}

/** A browser's session for who has just proven an account: the cookie's line, and no tokens. @throws {Unauthenticated} */
export async function signInByCookie(
  parts: Parts,
  proven: Proven,
  shown: Shown,
  caller: Caller,
): Promise<{ cookie: string; body: { user: SignedInUser } & Duties }> {
  const { account, ...how } = proven
  const { made, replaced } = await parts.db.begin(async (tx) => {
    const made = await openCookieSession(parts, tx, account, { ...shown, ...how })
    return { made, replaced: made && (await endReplaced(parts, tx, account.id, caller)) }
  })
  if (!made) throw wrongPassword()
  if (replaced) await parts.revocations.announce({ userId: account.id, sessionId: replaced })
  caller.log.info({ user_id: account.id }, 'signed in')
  const body = { user: await userShown(parts, account), ...(await dutiesOf(parts, proven)) }
  return { cookie: parts.cookies.set(made.value, made.seconds), body }
}
