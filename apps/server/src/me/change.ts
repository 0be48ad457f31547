import type { IncomingMessage } from 'node:http'
import { setFullName } from '../accounts/index.ts'
import type { Auth, Principal } from '../auth/index.ts'
import type { Sql } from '../platform/db/index.ts'
import { invalidField } from '../platform/errors.ts'

export type MeWish = {
  full_name?: string | null | undefined
  email?: string | undefined
  password?: string | undefined
}

/**
 * Changes the name at once; a new address is only asked for, and counts when a mail to it was answered.
 * @throws {InvalidInput} an address without the password, or a password without an address
 * @throws {Unauthenticated} the password is wrong. 429 RATE_LIMITED: too many such mails
 */
export async function changeMe(
  { db, auth }: { db: Sql; auth: Pick<Auth, 'requestEmailChange'> },
  caller: Principal,
  { full_name, email, password }: MeWish,
  req: IncomingMessage,
): Promise<void> {
  if (email !== undefined && password === undefined) throw invalidField('password', 'is needed to change the address')
  if (email === undefined && password !== undefined)
    throw invalidField(
      'password',
      'is your present one, for a new address; to change it: PATCH /api/v1/users/me/password',
    )
  if (email !== undefined && password !== undefined) await auth.requestEmailChange(caller, { email, password }, req)
  if (full_name !== undefined) await setFullName(db, caller.userId, full_name)
}
