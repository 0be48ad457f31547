import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { AppError, Unauthenticated } from '../../platform/errors.ts'
import type { Log } from '../../platform/log.ts'
import { failedProof } from '../failed-proof.ts'
import { sendLater } from '../mail/job.ts'
import type { Parts } from '../parts.ts'
import { recoveryCodeHash } from './recovery-codes.ts'
import { readTotp, takeRecoveryCode, takeStep } from './store.ts'
import { totpStep } from './totp.ts'

const SEAL = 'totp'
const MAIL_EVERY_MS = 3_600_000

/** Who tries: for limits that look at the address, and for the log. */
export type Caller = { req: IncomingMessage; log: Pick<Log, 'info' | 'warn'> }

export const callerOf = (req: FastifyRequest): Caller => ({ req: req.raw, log: req.log })

/** The password was right, and is not enough. */
export class TotpRequired extends AppError {
  constructor(message = 'Send the code of your authenticator app as well, in `totp`.') {
    super('TOTP_REQUIRED', message)
  }
}

const wrong = () => failedProof('code', new Unauthenticated('The code is not right.'))

export const sealTotp = (parts: Parts, userId: string, secret: Uint8Array): Buffer =>
  parts.secrets.seal(SEAL, userId, secret)

/** @returns the step `code` is right for. @throws when the seal's key is gone */
export const stepOf = (parts: Parts, userId: string, sealed: Buffer, code: string): bigint | undefined =>
  totpStep(parts.secrets.open(SEAL, userId, sealed), code, parts.clock.now())

/** The owner hears, at most once an hour, that somebody who knows the password fails at the second proof. */
async function warnOwner(parts: Parts, userId: string): Promise<void> {
  const first = await parts.kv.setOnce(`factor-mail:${userId}`, '1', MAIL_EVERY_MS).catch(() => true)
  if (first) await sendLater(parts, parts.db, 'factor_failed', userId)
}

/**
 * Charges a try of a second proof before it is judged (AUTH_FACTOR), so that a crowd at once gets no more tries than one
 * after the other; a right one is given back.
 * @param tellOwner a wrong one is worth a mail: the password was proven just before
 * @throws {Unauthenticated} it was wrong. 429 RATE_LIMITED
 */
export async function chargedTry<T>(
  parts: Parts,
  userId: string,
  caller: Caller,
  judge: () => Promise<T | undefined>,
  tellOwner = true,
): Promise<T> {
  const refund = await parts.attempts.spend('AUTH_FACTOR', userId, caller.req)
  const right = await judge()
  if (right === undefined) {
    caller.log.warn({ user_id: userId }, 'second factor refused')
    if (tellOwner) await warnOwner(parts, userId)
    throw wrong()
  }
  await refund()
  return right
}

/** Takes a code of the app or a recovery code, once. @returns undefined when it is wrong or was used */
async function takeCode(parts: Parts, userId: string, sealed: Buffer, code: string) {
  const step = stepOf(parts, userId, sealed, code.replace(/\s/g, ''))
  if (step !== undefined) return (await takeStep(parts.db, userId, step)) ? 'totp' : undefined
  const hash = recoveryCodeHash(userId, code)
  if (!hash) return undefined
  return parts.db.begin(async (tx) => {
    if (!(await takeRecoveryCode(tx, userId, hash))) return undefined
    // With the code or not at all: the owner must hear of each that goes.
    await sendLater(parts, tx, 'recovery_code_used', userId)
    return 'recovery-code'
  })
}

/**
 * The second factor of an account that has just proven its password; nothing to do when it has none.
 * @param code of the app, or a recovery code; null when none was sent
 * @returns whether there was a factor, and it was proven
 * @throws {TotpRequired} {Unauthenticated} the code is wrong or was used. 429 RATE_LIMITED
 */
export async function proveFactor(
  parts: Parts,
  userId: string,
  code: string | null,
  caller: Caller,
): Promise<'proven' | 'none'> {
  const factor = await readTotp(parts.db, userId)
  if (!factor?.enabled) return 'none'
  if (code === null) throw new TotpRequired()
  await chargedTry(parts, userId, caller, () => takeCode(parts, userId, factor.sealed, code))
  return 'proven'
}
