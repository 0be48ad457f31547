import { isStaff, type Credentials } from '../accounts/index.ts'
import type { Caller } from './factor/prove.ts'
import { hasFactor } from './factor/store.ts'
import type { Parts, SubscriptionBrief } from './parts.ts'
import { wrongPassword, type Proven } from './prove.ts'
import { openCookieSession, openTokenSession, type TokenPair } from './session/open.ts'

/** How the new session is shown in the list of sessions. */
export type Shown = { deviceName: string | null; client: string | null }

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

/** A browser's session for who has just proven an account: the cookie's line, and no tokens. @throws {Unauthenticated} */
export async function signInByCookie(
  parts: Parts,
  proven: Proven,
  shown: Shown,
  caller: Caller,
): Promise<{ cookie: string; body: { user: SignedInUser } & Duties }> {
  const { account, ...how } = proven
  const made = await parts.db.begin((tx) => openCookieSession(parts, tx, account, { ...shown, ...how }))
  if (!made) throw wrongPassword()
  caller.log.info({ user_id: account.id }, 'signed in')
  const body = { user: await userShown(parts, account), ...(await dutiesOf(parts, proven)) }
  return { cookie: parts.cookies.set(made.value, made.seconds), body }
}
