import {
  credentialsByEmail,
  credentialsById,
  emailKey,
  isStaff,
  setPassword,
  type Credentials,
} from '../accounts/index.ts'
import { Forbidden, Unauthenticated } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { accountMac, countFailure, failuresInARow, forgetFailures } from './failures.ts'
import { failedProof } from './failed-proof.ts'
import { chargedTry, proveFactor, TotpRequired, type Caller } from './factor/prove.ts'
import { sendLater } from './mail/job.ts'
import { takeSignInCode } from './mail/sign-in-code.ts'
import { oneTimeState } from './one-time.ts'
import type { Parts } from './parts.ts'
import { hasPasskey } from './passkey/store.ts'

export type PasswordProof = { email: string; password: string; totp: string | null }

/** An account that proved itself, second factor included. */
export type Proven = {
  account: Credentials
  mustChangePassword: boolean
  /** It has a second factor, and proved it. */
  factorProven: boolean
  /** The passkey that proved it. */
  passkeyId?: string
}

export const wrongPassword = () => failedProof('password', new Unauthenticated('The e-mail or the password is wrong.'))

const mustProveAddress = ({ config }: Parts, account: Credentials): boolean =>
  config.REQUIRE_EMAIL_VERIFICATION && !account.is_verified

/** Everything that keeps an account with the right password out looks like a wrong password. */
export const mayEnter = (parts: Parts, account: Credentials): boolean =>
  account.is_active && !mustProveAddress(parts, account)

/** Long enough for the answer to be on its way. */
const MAIL_AGAIN_AFTER_MS = 100

/**
 * Mails the proof of the address again to who proved all else. Queued when the answer is given, at best effort: what it
 * costs, even beside the answer, would tell by the time taken that the password was right.
 */
export function mailProofAgain(parts: Parts, account: Credentials): void {
  if (!account.is_active || !mustProveAddress(parts, account)) return
  const queue = () =>
    sendLater(parts, parts.db, 'verify', account.id).catch((err: unknown) => {
      parts.log.warn({ err, user_id: account.id }, 'the proof of an address could not be mailed again')
    })
  setTimeout(() => void queue(), MAIL_AGAIN_AFTER_MS).unref()
}

/**
 * Hashes of an older cost or scheme are renewed while the password is at hand.
 * @returns the account with the hash it has then; of several sign-ins at once one renews it and the others go on with that
 */
async function renewHash(parts: Parts, account: Credentials, password: string): Promise<Credentials> {
  if (account.hashed_password === null || !parts.passwords.isOutdated(account.hashed_password)) return account
  const hash = await parts.passwords.hash(password)
  if (await setPassword(parts.db, account.id, hash, account.hashed_password))
    return { ...account, hashed_password: hash }
  const now = await credentialsById(parts.db, account.id)
  const same = await parts.passwords.matches(now?.hashed_password ?? null, password)
  return { ...account, hashed_password: now && same ? now.hashed_password : account.hashed_password }
}

/**
 * What an account proves after its password or number. In production staff with a passkey proves that, or an
 * authenticator app's code: a passkey that only stood beside the password would leave a sign-in by one factor.
 * @throws {Forbidden} the passkey is the only factor {TotpRequired} {Unauthenticated} a wrong code. 429 RATE_LIMITED
 */
export async function proveSecondStep(
  parts: Parts,
  { id, role }: Credentials,
  totp: string | null,
  caller: Caller,
): Promise<'proven' | 'none'> {
  const factor = await proveFactor(parts, id, totp, caller)
  if (factor === 'none' && parts.config.production && isStaff(role) && (await hasPasskey(parts.db, id))) {
    caller.log.warn({ user_id: id }, 'sign-in without the passkey refused')
    throw new Forbidden(
      'Sign in by your passkey, in the web app: the password alone is not enough. An authenticator app, set up there, opens other ways.',
    )
  }
  return factor
}

/** Whoever has had too many wrong passwords in a row also needs a code that the owner alone gets. */
async function proveMailedCode(parts: Parts, account: Credentials, code: string | null, caller: Caller): Promise<void> {
  if (code === null) {
    await sendLater(parts, parts.db, 'sign_in', account.id)
    throw new TotpRequired('Many wrong passwords came in a row. Send the code we have just mailed you, in `totp`.')
  }
  const email = account.email ?? ''
  await chargedTry(parts, account.id, caller, async () =>
    (await takeSignInCode(parts, account.id, email, code)) ? true : undefined,
  )
}

/**
 * Proves an account by e-mail, password and whatever else it needs. Every way in by password goes through here.
 * @throws {Unauthenticated} the same for an unknown address, a wrong password, a disabled or unverified account; a wrong
 *   code {TotpRequired} the password is right and a code is missing {Forbidden} the password is right and a passkey
 *   missing {Unavailable} too many sign in at once
 *   429 RATE_LIMITED
 */
export async function proveAccount(parts: Parts, wish: PasswordProof, caller: Caller): Promise<Proven> {
  const mac = accountMac(parts.secrets, emailKey(wish.email))
  const closed = (await failuresInARow(parts.db, mac)) >= parts.failuresAllowed
  if (closed && parts.mailer.kind === 'off')
    await parts.attempts.spend('AUTH_ACCOUNT_NETWORK', emailKey(wish.email), caller.req)
  const found = await credentialsByEmail(parts.db, wish.email)
  // The same work for every address and password: what is read more for a right one would show in the time taken.
  const [right, oneTime] = await Promise.all([
    parts.passwords.matches(found?.hashed_password ?? null, wish.password),
    oneTimeState(parts.db, found?.id ?? newId()),
  ])
  const known = right && oneTime !== 'expired' ? found : undefined
  if (!known || !mayEnter(parts, known)) {
    await countFailure(parts.db, mac)
    caller.log.warn({ user_id: found?.id ?? null }, 'sign-in refused')
    if (known) mailProofAgain(parts, known)
    throw wrongPassword()
  }
  const factor = await proveSecondStep(parts, known, wish.totp, caller)
  if (closed && factor === 'none' && parts.mailer.kind !== 'off') await proveMailedCode(parts, known, wish.totp, caller)
  await forgetFailures(parts.db, mac)

  const account = await renewHash(parts, known, wish.password)
  // Who became staff with a customer's password chooses a longer one first.
  const tooWeak =
    isStaff(account.role) && parts.rules.fault(wish.password, { email: account.email, staff: true }) !== null
  return { account, mustChangePassword: oneTime === 'good' || tooWeak, factorProven: factor === 'proven' }
}
