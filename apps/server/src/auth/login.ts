import { credentialsByEmail, isStaff, setPassword, type Credentials } from '../accounts/index.ts'
import { Unauthenticated } from '../platform/errors.ts'
import type { Log } from '../platform/log.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { oneTimeState } from './one-time.ts'
import type { Parts, SubscriptionBrief } from './parts.ts'
import { openTokenSession, type TokenPair } from './session/open.ts'

export type Login = {
  email: string
  password: string
  deviceName: string | null
  client: string | null
  /** The request's log: sign-ins, good and bad, are told there by account id. */
  log: Pick<Log, 'info' | 'warn'>
}

export type SignedIn = TokenPair & {
  user: {
    id: string
    email: string | null
    role: string
    subscription_status: SubscriptionBrief['status']
    subscription_expiry: Date | null
  }
  password_change_required?: true
}

const wrong = () => failedProof('password', new Unauthenticated('The e-mail or the password is wrong.'))

/** Everything that keeps an account with the right password out looks like a wrong password. */
async function mayEnter(parts: Parts, account: Credentials): Promise<boolean> {
  if (!account.is_active) return false
  if (account.is_verified || !parts.config.REQUIRE_EMAIL_VERIFICATION) return true
  await sendLater(parts, parts.db, 'verify', account.id)
  return false
}

/** Hashes of an older cost or scheme are renewed while the password is at hand. */
async function renewHash(parts: Parts, account: Credentials, password: string): Promise<Credentials> {
  if (account.hashed_password === null || !parts.passwords.isOutdated(account.hashed_password)) return account
  const hash = await parts.passwords.hash(password)
  const renewed = await setPassword(parts.db, account.id, hash, account.hashed_password)
  return renewed ? { ...account, hashed_password: hash } : account
}

/**
 * Signs in with e-mail and password: a new session each time.
 * @throws {Unauthenticated} the same for an unknown address, a wrong password, a disabled or unverified account
 * @throws {Unavailable} too many sign in at once
 */
export async function login(parts: Parts, wish: Login): Promise<SignedIn> {
  const found = await credentialsByEmail(parts.db, wish.email)
  const right = await parts.passwords.matches(found?.hashed_password ?? null, wish.password)
  const refuse = (): Unauthenticated => {
    wish.log.warn({ user_id: found?.id ?? null }, 'sign-in refused')
    return wrong()
  }
  if (!found || !right || !(await mayEnter(parts, found))) throw refuse()

  const oneTime = await oneTimeState(parts.db, found.id)
  if (oneTime === 'expired') throw refuse()
  const account = await renewHash(parts, found, wish.password)
  // Who became staff with a customer's password chooses a longer one first.
  const tooWeak =
    isStaff(account.role) && parts.rules.fault(wish.password, { email: account.email, staff: true }) !== null
  const mustChangePassword = oneTime === 'good' || tooWeak

  const { deviceName, client } = wish
  const pair = await parts.db.begin((tx) =>
    openTokenSession(parts, tx, account, { deviceName, client, mustChangePassword }),
  )
  if (!pair) throw refuse()
  wish.log.info({ user_id: account.id }, 'signed in')
  const { status, expiry } = await parts.subscriptionOf(account.id)
  return {
    ...pair,
    user: {
      id: account.id,
      email: account.email,
      role: account.role,
      subscription_status: status,
      subscription_expiry: expiry,
    },
    ...(mustChangePassword ? { password_change_required: true as const } : {}),
  }
}
