import { holderOf, insertAccount, type AccountView } from '../accounts/index.ts'
import { newId } from '../platform/ids.ts'
import { sendLater } from './mail/job.ts'
import type { Parts } from './parts.ts'

export type Registration = { email: string; password: string; full_name?: string | undefined }

type Made = Pick<AccountView, 'id' | 'created_at'>

/** What every new account looks like: said of the wish, never of what is stored, so that both answers are the same. */
const answerTo = (wish: Registration, { id, created_at }: Made): AccountView => ({
  id,
  email: wish.email,
  full_name: wish.full_name ?? null,
  role: 'user',
  created_at,
  is_active: true,
  is_superuser: false,
  is_verified: false,
})

/**
 * Makes an account. Whether the address was known shows neither in the answer nor in the work done: a hash is paid, a row
 * tried, the address looked up and a mail queued both ways. The id is of this clock and from before the transaction, the
 * time of the database and its beginning, both ways: what lies between them tells nothing.
 * @throws {InvalidInput} the password is not good
 */
export async function register(parts: Parts, wish: Registration): Promise<AccountView> {
  parts.rules.assertGood(wish.password, { email: wish.email, staff: false }, 'password')
  const hashedPassword = await parts.passwords.hash(wish.password)
  const id = newId()
  return parts.db.begin(async (tx) => {
    const made = await insertAccount(tx, { id, email: wish.email, hashedPassword, fullName: wish.full_name ?? null })
    const { holder, created_at } = await holderOf(tx, wish.email)
    await sendLater(parts, tx, made ? 'verify' : 'known', holder ?? newId())
    return answerTo(wish, { id, created_at })
  })
}
