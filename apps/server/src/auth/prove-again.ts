import { credentialsById } from '../accounts/index.ts'
import { invalidField, Unauthenticated } from '../platform/errors.ts'
import { confirmPassword } from './change-password.ts'
import type { Parts } from './parts.ts'
import type { Principal } from './principal.ts'

/** Milliseconds in which a sign-in still stands for its proof. */
const FRESH_MS = 5 * 60_000

/** The session was opened less than five minutes ago. */
const isFresh = (parts: Pick<Parts, 'clock'>, caller: Principal): boolean =>
  caller.signedInAt !== undefined && parts.clock.now() - caller.signedInAt.getTime() < FRESH_MS

/**
 * Proves the caller once more: by the password, or, for an account without one, by a sign-in less than five minutes old.
 * @throws {InvalidInput} the password is missing {Unauthenticated} it is wrong, or the sign-in too old
 */
export async function proveAgain(parts: Parts, caller: Principal, password: string | undefined): Promise<void> {
  if (password !== undefined) return void (await confirmPassword(parts, caller.userId, password))
  const account = await credentialsById(parts.db, caller.userId)
  if (typeof account?.hashed_password === 'string') throw invalidField('password', 'is needed for this')
  if (!isFresh(parts, caller))
    throw new Unauthenticated('Sign in again first: this needs a sign-in less than 5 minutes old.')
}

/** The same, spared whom a fresh session already proves. @throws as `proveAgain` */
export async function proveAgainUnlessFresh(
  parts: Parts,
  caller: Principal,
  password: string | undefined,
): Promise<void> {
  if (password === undefined && isFresh(parts, caller)) return
  await proveAgain(parts, caller, password)
}
