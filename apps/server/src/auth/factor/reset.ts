import { z } from 'zod'
import { credentialsByEmail, credentialsById, lockCredentials } from '../../accounts/index.ts'
import { audit } from '../../platform/audit.ts'
import { AppError } from '../../platform/errors.ts'
import { deleteApiTokens } from '../api-token/store.ts'
import { sendLater } from '../mail/job.ts'
import { forgetMailedProofs } from '../mail/store.ts'
import type { Parts } from '../parts.ts'
import { revokeSessions } from '../session/store.ts'
import { deleteFactors } from './store.ts'

/** What a reset took away, and whether a mail tells the owner. */
export type FactorReset = {
  user_id: string
  authenticator: boolean
  recovery_codes: number
  passkeys: number
  sessions: number
  api_tokens: number
  mailed: boolean
}

const unknown = () => new AppError('NOT_FOUND', 'There is no account with this e-mail address or id.')

/**
 * For who has lost every second factor, by an operator at the machine, who knows the owner by other means: removes
 * authenticator app, recovery codes and passkeys, ends sessions, API tokens and what was mailed before. The password
 * stays, and is all that is asked for until a new factor is set up; devices and their tunnels stay, too.
 * @param who e-mail address or id
 * @throws {AppError} NOT_FOUND
 */
export async function resetFactors(parts: Parts, who: string): Promise<FactorReset> {
  const { db } = parts
  const account = z.uuid().safeParse(who).success ? await credentialsById(db, who) : await credentialsByEmail(db, who)
  if (!account) throw unknown()
  const { id } = account
  const revocation = { userId: id, sessionId: null }
  const reset = await db.begin(async (tx) => {
    const now = await lockCredentials(tx, id)
    if (!now) throw unknown()
    const factors = await deleteFactors(tx, id)
    const sessions = (await revokeSessions(tx, id)).length
    const api_tokens = (await deleteApiTokens(tx, id)).count
    await forgetMailedProofs(tx, id)
    const fields = ['authenticator', 'recovery_codes', 'passkeys', 'sessions', 'api_tokens']
    await audit(tx, { actor: null, action: 'user.factors_reset_by_operator', subject: { type: 'user', id }, fields })
    await sendLater(parts, tx, 'factors_reset', id)
    await parts.revocations.announceWith(tx, revocation)
    const mailed = parts.mailer.kind !== 'off' && now.email !== null && now.is_active
    return { user_id: id, ...factors, sessions, api_tokens, mailed }
  })
  // Also where a pooler keeps notifications from the service.
  await parts.revocations.announce(revocation)
  return reset
}
