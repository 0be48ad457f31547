import {
  accountById,
  credentialsById,
  emailKey,
  isStaff,
  setPassword,
  type AccountView,
  type Credentials,
} from '../accounts/index.ts'
import { audit } from '../platform/audit.ts'
import { invalidField, Unauthenticated } from '../platform/errors.ts'
import { accountMac, countFailure, failuresInARow, forgetFailures } from './failures.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { forgetMailedProofs } from './mail/store.ts'
import { clearOneTime } from './one-time.ts'
import type { Parts } from './parts.ts'
import { normalized } from './password/normalized.ts'
import type { Principal } from './principal.ts'
import { clearMustChange, revokeSessions } from './session/store.ts'
import { lockCaller } from './still-signed-in.ts'

const wrong = () => failedProof('password', new Unauthenticated('The present password is wrong.'))

/**
 * Proves once more that the caller knows the account's password. Wrong ones count as at a sign-in, and past as many only
 * a sign-in, which asks for a mailed code, opens this again: who found an open session gets no tries without end.
 * @returns the account as it was proven
 * @throws {Unauthenticated} it is wrong, or too many were
 */
export async function confirmPassword(parts: Parts, userId: string, password: string): Promise<Credentials> {
  const account = await credentialsById(parts.db, userId)
  const mac = account?.email ? accountMac(parts.secrets, emailKey(account.email)) : null
  if (mac && (await failuresInARow(parts.db, mac)) >= parts.failuresAllowed)
    throw new Unauthenticated('Many wrong passwords came in a row. Sign in again first.')
  const right = await parts.passwords.matches(account?.hashed_password ?? null, password)
  if (!account || !right) {
    if (mac) await countFailure(parts.db, mac)
    throw wrong()
  }
  if (mac) await forgetFailures(parts.db, mac)
  return account
}

/**
 * A new password by who knows the old one; every other session of the account ends, and so does what was mailed before.
 * @throws {Unauthenticated} the old one is wrong {InvalidInput} the new one is not good
 */
export async function changePassword(
  parts: Parts,
  caller: Principal,
  wish: { current_password: string; new_password: string },
  requestId: string,
): Promise<AccountView> {
  const account = await confirmPassword(parts, caller.userId, wish.current_password)
  const staff = isStaff(account.role)
  if (normalized(wish.new_password) === normalized(wish.current_password))
    throw invalidField('new_password', 'must differ from the present one')
  parts.rules.assertGood(wish.new_password, { email: account.email, staff }, 'new_password')
  const hash = await parts.passwords.hash(wish.new_password)
  const view = await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (!(await setPassword(tx, account.id, hash, account.hashed_password))) throw wrong()
    await forgetMailedProofs(tx, account.id)
    await clearOneTime(tx, account.id)
    await clearMustChange(tx, caller.sessionId)
    const ended = await revokeSessions(tx, account.id, caller.sessionId)
    await sendLater(parts, tx, 'password_changed', account.id)
    if (staff) {
      const subject = { type: 'user', id: account.id }
      await audit(tx, { actor: account.id, action: 'user.password_changed', subject, fields: ['password'], requestId })
    }
    return { changed: await accountById(tx, account.id), ended }
  })
  for (const sessionId of view.ended) await parts.revocations.announce({ userId: account.id, sessionId })
  if (!view.changed) throw wrong()
  return view.changed
}
