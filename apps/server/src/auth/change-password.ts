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
import { Unauthenticated } from '../platform/errors.ts'
import { accountMac, countFailure } from './failures.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { clearOneTime } from './one-time.ts'
import type { Parts } from './parts.ts'
import type { Principal } from './principal.ts'
import { clearMustChange, revokeSessions } from './session/store.ts'

const wrong = () => failedProof('password', new Unauthenticated('The present password is wrong.'))

/**
 * Proves once more that the caller knows the account's password.
 * @returns the account as it was proven
 * @throws {Unauthenticated}
 */
export async function confirmPassword(parts: Parts, userId: string, password: string): Promise<Credentials> {
  const account = await credentialsById(parts.db, userId)
  const right = await parts.passwords.matches(account?.hashed_password ?? null, password)
  if (!account || !right) {
    if (account?.email) await countFailure(parts.db, accountMac(parts.secrets, emailKey(account.email)))
    throw wrong()
  }
  return account
}

/**
 * A new password by who knows the old one; every other session of the account ends.
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
  parts.rules.assertGood(wish.new_password, { email: account.email, staff }, 'new_password')
  const hash = await parts.passwords.hash(wish.new_password)
  const view = await parts.db.begin(async (tx) => {
    if (!(await setPassword(tx, account.id, hash, account.hashed_password))) throw wrong()
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
