import { credentialsByAccountNumber, insertAnonymous } from '../accounts/index.ts'
import { NotFound, Unauthenticated } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { accountNumberHash, newAccountNumber } from './account-number.ts'
import { failedProof } from './failed-proof.ts'
import type { Caller } from './factor/prove.ts'
import type { Parts } from './parts.ts'
import { proveSecondStep, type Proven } from './prove.ts'

/**
 * Makes an account without address or password.
 * @returns its number, shown this once
 * @throws {NotFound} this installation makes none
 */
export async function registerAnonymous(parts: Parts): Promise<string> {
  if (!parts.config.ANONYMOUS_ACCOUNTS) throw new NotFound()
  const number = newAccountNumber()
  const hash = accountNumberHash(number)
  if (!hash) throw new Error('a fresh account number is malformed')
  await insertAnonymous(parts.db, newId(), hash)
  return number
}

/**
 * Proves an anonymous account by its number, and its second factor where it has one.
 * @throws {Unauthenticated} unknown or disabled, or a wrong code {TotpRequired} {Forbidden} as `proveSecondStep`. 429 RATE_LIMITED
 */
export async function proveAccountNumber(
  parts: Parts,
  wish: { accountNumber: string; totp: string | null },
  caller: Caller,
): Promise<Proven> {
  const hash = accountNumberHash(wish.accountNumber)
  const account = hash ? await credentialsByAccountNumber(parts.db, hash) : undefined
  if (!account?.is_active) {
    caller.log.warn({ user_id: account?.id ?? null }, 'sign-in refused')
    throw failedProof('password', new Unauthenticated('The account number is wrong.'))
  }
  const factor = await proveSecondStep(parts, account, wish.totp, caller)
  return { account, mustChangePassword: false, factorProven: factor === 'proven' }
}
