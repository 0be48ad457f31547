import {
  credentialsByEmail,
  credentialsById,
  emailKey,
  endAccess,
  isStaff,
  lockCredentials,
  setPassword,
  setVerified,
} from '../accounts/index.ts'
import { invalidField } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { accountMac, forgetFailures } from './failures.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { findMailToken, forgetMailedProofs, takeMailToken } from './mail/store.ts'
import { linkTokenHash } from './mail/tokens.ts'
import { clearOneTime } from './one-time.ts'
import type { Parts } from './parts.ts'

const dead = () => failedProof('secret', invalidField('token', 'is not valid or no longer so: ask for a new mail'))

/** Has a link mailed to the owner, if there is one; a job is queued either way. */
export async function forgotPassword(parts: Parts, email: string): Promise<void> {
  const account = await credentialsByEmail(parts.db, email)
  await sendLater(parts, parts.db, 'reset', account?.id ?? newId())
}

/**
 * Sets a password by a mailed link, once. It proves the address, and ends every session and grant. It does not sign in,
 * and a second factor stays what it was.
 * @throws {InvalidInput}
 */
export async function resetPassword(parts: Parts, wish: { token: string; password: string }): Promise<void> {
  const hash = linkTokenHash(wish.token)
  const found = hash ? await findMailToken(parts.db, hash, ['reset']) : undefined
  const account = found ? await credentialsById(parts.db, found.user_id) : undefined
  if (!hash || !found || !account?.is_active || account.email !== found.email) throw dead()
  parts.rules.assertGood(wish.password, { email: account.email, staff: isStaff(account.role) }, 'password')
  const hashed = await parts.passwords.hash(wish.password)
  const announcements = await parts.db.begin(async (tx) => {
    // The user before the token, as everybody: two links used at once would wait for one another.
    const now = await lockCredentials(tx, account.id)
    if (!now?.is_active || now.email !== found.email || !(await takeMailToken(tx, hash, ['reset']))) throw dead()
    await setPassword(tx, account.id, hashed)
    await clearOneTime(tx, account.id)
    await forgetFailures(tx, accountMac(parts.secrets, emailKey(found.email)))
    await forgetMailedProofs(tx, account.id)
    const all = [await endAccess(tx, parts.ends, account.id, 'password_reset')]
    if (await setVerified(tx, account.id, found.email))
      all.push(await endAccess(tx, parts.ends, account.id, 'first_verified'))
    await sendLater(parts, tx, 'password_changed', account.id)
    return all
  })
  for (const announce of announcements) await announce()
}
