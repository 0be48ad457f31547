import { credentialsByEmail, insertAccount, type AccountView } from '../accounts/index.ts'
import { newId } from '../platform/ids.ts'
import { sendLater } from './mail/job.ts'
import type { Parts } from './parts.ts'

export type Registration = { email: string; password: string; full_name?: string | undefined }

/** What a new account looks like, for an address that already has one: an id of nobody. */
const invented = (wish: Registration): AccountView => ({
  id: newId(),
  email: wish.email,
  full_name: wish.full_name ?? null,
  role: 'user',
  created_at: new Date(),
  is_active: true,
  is_superuser: false,
  is_verified: false,
})

/**
 * Makes an account. Whether the address was known shows neither in the answer nor in the work done: a hash is paid, a row
 * tried and a mail queued both ways.
 * @throws {InvalidInput} the password is not good
 */
export async function register(parts: Parts, wish: Registration): Promise<AccountView> {
  parts.rules.assertGood(wish.password, { email: wish.email, staff: false }, 'password')
  const hashedPassword = await parts.passwords.hash(wish.password)
  return parts.db.begin(async (tx) => {
    const account = { id: newId(), email: wish.email, hashedPassword, fullName: wish.full_name ?? null }
    const made = await insertAccount(tx, account)
    if (made) {
      await sendLater(parts, tx, 'verify', made.id)
      return made
    }
    const owner = await credentialsByEmail(tx, wish.email)
    await sendLater(parts, tx, 'known', owner?.id ?? newId())
    return invented(wish)
  })
}
