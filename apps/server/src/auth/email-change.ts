import type { IncomingMessage } from 'node:http'
import { emailKey, lockCredentials } from '../accounts/index.ts'
import { Unauthenticated, Unavailable } from '../platform/errors.ts'
import { confirmPassword } from './change-password.ts'
import { sendLater } from './mail/job.ts'
import { wishEmail } from './mail/store.ts'
import type { Parts } from './parts.ts'
import type { Principal } from './principal.ts'
import { assertStillSignedIn } from './still-signed-in.ts'

export type EmailWish = { email: string; password: string }

/**
 * Asks for another address. It counts once a mail to it was answered (`verifyEmail`); whether it is free is not told. The
 * mails are limited by who asks and by where they go, so that nobody floods an address with them.
 * @throws {Unauthenticated} the password is wrong, or was changed meanwhile {Unavailable} this installation sends no mail
 *   429 RATE_LIMITED (AUTH_PASSWORD_RESET)
 */
export async function requestEmailChange(
  parts: Parts,
  caller: Principal,
  wish: EmailWish,
  req: IncomingMessage,
): Promise<void> {
  if (parts.mailer.kind === 'off')
    throw new Unavailable('This installation sends no mail, so it cannot prove an address.')
  const { id, hashed_password: judged } = await confirmPassword(parts, caller.userId, wish.password)
  for (const subject of [id, emailKey(wish.email)]) await parts.attempts.spend('AUTH_PASSWORD_RESET', subject, req)
  await parts.db.begin(async (tx) => {
    const now = await lockCredentials(tx, id)
    await assertStillSignedIn(tx, caller)
    // A wish by the old password must not outlive the new one, which forgets all that were there.
    if (now?.hashed_password !== judged) throw new Unauthenticated('The password was changed meanwhile.')
    await wishEmail(tx, id, wish.email)
    await sendLater(parts, tx, 'change_email', id)
  })
}
