import { credentialsById, isStaff, type Credentials } from '../../accounts/index.ts'
import { audit } from '../../platform/audit.ts'
import type { Tx } from '../../platform/db/index.ts'
import { Conflict, NotFound } from '../../platform/errors.ts'
import { qrDataUrl } from '../../platform/qr.ts'
import { sendLater, type MailKind } from '../mail/job.ts'
import type { Parts } from '../parts.ts'
import type { Principal } from '../principal.ts'
import { proveAgain, proveAgainUnlessFresh } from '../prove-again.ts'
import { revokeSessions } from '../session/store.ts'
import { lockCaller } from '../still-signed-in.ts'
import { chargedTry, proveFactor, sealTotp, stepOf, type Caller } from './prove.ts'
import { newRecoveryCodes, recoveryCodeHash } from './recovery-codes.ts'
import { deleteTotp, enableTotp, insertTotp, readTotp, replaceRecoveryCodes } from './store.ts'
import { newTotpSecret, totpUri } from './totp.ts'

export type FactorSetup = { secret: string; otpauth_url: string; qr: string }

const already = () => new Conflict('Two-factor sign-in is on already. Switch it off first.')

async function accountOf(parts: Parts, userId: string): Promise<Credentials> {
  const account = await credentialsById(parts.db, userId)
  if (!account) throw new NotFound('The user')
  return account
}

/**
 * What every change of a factor brings: the other sessions end, the owner gets a mail, staff's is audited. Call it in the
 * transaction of the change, and its answer after the commit.
 */
export async function factorChanged(
  parts: Parts,
  tx: Tx,
  caller: Principal,
  change: { mail: MailKind; action: string; requestId: string },
): Promise<() => Promise<void>> {
  const ended = await revokeSessions(tx, caller.userId, caller.sessionId)
  await sendLater(parts, tx, change.mail, caller.userId)
  if (isStaff(caller.role)) {
    const subject = { type: 'user', id: caller.userId }
    await audit(tx, { actor: caller.userId, action: change.action, subject, requestId: change.requestId })
  }
  return async () => {
    for (const sessionId of ended) await parts.revocations.announce({ userId: caller.userId, sessionId })
  }
}

async function makeRecoveryCodes(tx: Tx, userId: string): Promise<string[]> {
  const codes = newRecoveryCodes()
  const hashes = codes.map((code) => recoveryCodeHash(userId, code)).filter((hash) => hash !== null)
  await replaceRecoveryCodes(tx, userId, hashes)
  return codes
}

/**
 * Begins: a secret for an authenticator app, which is a factor once `enableFactor` saw its first code.
 * @throws {Conflict} it is on already {InvalidInput} {Unauthenticated} the sign-in is old and the password not sent
 */
export async function setUpFactor(parts: Parts, caller: Principal, password: string | undefined): Promise<FactorSetup> {
  await proveAgainUnlessFresh(parts, caller, password)
  const account = await accountOf(parts, caller.userId)
  const secret = newTotpSecret()
  await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (!(await insertTotp(tx, account.id, sealTotp(parts, account.id, secret)))) throw already()
  })
  const shown = totpUri(secret, parts.config.APP_NAME, account.email ?? 'account')
  return { secret: shown.secret, otpauth_url: shown.uri, qr: qrDataUrl(shown.uri) }
}

/**
 * Makes the waiting secret a factor.
 * @returns recovery codes, shown this once
 * @throws {Conflict} nothing waits, or it is on {Unauthenticated} the code is wrong. 429 RATE_LIMITED
 */
export async function enableFactor(
  parts: Parts,
  caller: Principal,
  wish: { code: string; requestId: string },
  by: Caller,
): Promise<string[]> {
  const waiting = await readTotp(parts.db, caller.userId)
  if (!waiting) throw new Conflict('Ask for a secret first: POST /api/v1/auth/2fa/setup.')
  if (waiting.enabled) throw already()
  const judge = async () => stepOf(parts, caller.userId, waiting.sealed, wish.code)
  const step = await chargedTry(parts, caller.userId, by, judge, false)
  const { codes, announce } = await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (!(await enableTotp(tx, caller.userId, waiting.sealed, step))) throw already()
    const change = { mail: 'factor_enabled', action: 'user.factor_enabled', requestId: wish.requestId } as const
    return {
      codes: await makeRecoveryCodes(tx, caller.userId),
      announce: await factorChanged(parts, tx, caller, change),
    }
  })
  await announce()
  return codes
}

type Proof = { password?: string | undefined; code: string; requestId: string }

/** Password and code, as at a sign-in. @throws {Unauthenticated} {Conflict} there is no factor */
async function proveBoth(parts: Parts, caller: Principal, { password, code }: Proof, by: Caller): Promise<void> {
  await proveAgain(parts, caller, password)
  if ((await proveFactor(parts, caller.userId, code, by)) === 'none')
    throw new Conflict('Two-factor sign-in is not on.')
}

/** Switches the factor off. @throws {Unauthenticated} password or code is wrong {Conflict}. 429 RATE_LIMITED */
export async function disableFactor(parts: Parts, caller: Principal, wish: Proof, by: Caller): Promise<void> {
  await proveBoth(parts, caller, wish, by)
  const announce = await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (!(await deleteTotp(tx, caller.userId))) throw new Conflict('Two-factor sign-in is not on.')
    const change = { mail: 'factor_disabled', action: 'user.factor_disabled', requestId: wish.requestId } as const
    return factorChanged(parts, tx, caller, change)
  })
  await announce()
}

/** New recovery codes in place of all. @throws {Unauthenticated} password or code is wrong {Conflict}. 429 RATE_LIMITED */
export async function renewRecoveryCodes(parts: Parts, caller: Principal, wish: Proof, by: Caller): Promise<string[]> {
  await proveBoth(parts, caller, wish, by)
  const { codes, announce } = await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    const factor = await readTotp(tx, caller.userId)
    if (!factor?.enabled) throw new Conflict('Two-factor sign-in is not on.')
    const codes = await makeRecoveryCodes(tx, caller.userId)
    const change = {
      mail: 'recovery_codes_renewed',
      action: 'user.recovery_codes_renewed',
      requestId: wish.requestId,
    } as const
    return { codes, announce: await factorChanged(parts, tx, caller, change) }
  })
  await announce()
  return codes
}
