import type { Credentials } from '../../accounts/index.ts'
import type { Tx } from '../../platform/db/index.ts'
import { newId } from '../../platform/ids.ts'
import type { Parts } from '../parts.ts'
import { lifetimesOf, PASSWORD_CHANGE_ONLY } from './lifetimes.ts'
import { newRefreshToken, refreshTokenHash } from './refresh-token.ts'
import { insertRefreshToken, insertSession } from './store.ts'

export type TokenPair = {
  access_token: string
  token_type: 'bearer'
  /** Seconds. */
  expires_in: number
  refresh_token: string
}

export type Opening = {
  deviceName: string | null
  client: string | null
  mustChangePassword: boolean
  /** The account has a second factor, and proved it. */
  factorProven: boolean
}

/**
 * Opens a token session for an account that has just proven itself.
 * @returns undefined when the account was changed since it was judged
 */
export async function openTokenSession(
  { config, tokens }: Pick<Parts, 'config' | 'tokens'>,
  tx: Tx,
  account: Credentials,
  opening: Opening,
): Promise<TokenPair | undefined> {
  const id = newId()
  const refreshToken = newRefreshToken()
  const hash = refreshTokenHash(refreshToken)
  const life = opening.mustChangePassword ? PASSWORD_CHANGE_ONLY : lifetimesOf(account.role, config)
  const opened = await insertSession(tx, {
    id,
    userId: account.id,
    kind: 'token',
    hashedPassword: account.hashed_password,
    ...opening,
    ...life,
  })
  if (!opened || !hash) return undefined
  await insertRefreshToken(tx, hash, id)
  const { token, expiresIn } = await tokens.issue({ userId: account.id, sessionId: id, role: account.role })
  return { access_token: token, token_type: 'bearer', expires_in: expiresIn, refresh_token: refreshToken }
}
