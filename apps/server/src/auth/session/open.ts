import type { Credentials } from '../../accounts/index.ts'
import type { Tx } from '../../platform/db/index.ts'
import { newId } from '../../platform/ids.ts'
import type { Parts } from '../parts.ts'
import { makeSelfProving } from '../self-proving.ts'
import { lifetimesOf, PASSWORD_CHANGE_ONLY, type Lifetimes } from './lifetimes.ts'
import { newRefreshToken, refreshTokenHash } from './refresh-token.ts'
import { insertRefreshToken, insertSession, type SessionKind } from './store.ts'

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
  country: string | null
  mustChangePassword: boolean
  /** The account has a second factor, and proved it. */
  factorProven: boolean
  /** The passkey that proved it. */
  passkeyId?: string
}

/** @returns the lifetimes of the row that was made, undefined when the account was changed since it was judged */
async function openSession(
  { config }: Pick<Parts, 'config'>,
  tx: Tx,
  account: Credentials,
  session: Opening & { id: string; kind: SessionKind; secretHash?: Buffer },
): Promise<Lifetimes | undefined> {
  const life = session.mustChangePassword ? PASSWORD_CHANGE_ONLY : lifetimesOf(account.role, config)
  const { id: userId, role, hashed_password: hashedPassword } = account
  const row = { ...session, userId, role, hashedPassword, production: config.production, ...life }
  return (await insertSession(tx, row)) ? life : undefined
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
  const life = await openSession({ config }, tx, account, { ...opening, id, kind: 'token' })
  if (!life || !hash) return undefined
  await insertRefreshToken(tx, hash, id)
  const { token, expiresIn } = await tokens.issue({ userId: account.id, sessionId: id, role: account.role })
  return { access_token: token, token_type: 'bearer', expires_in: expiresIn, refresh_token: refreshToken }
}

/**
 * Opens a browser's session.
 * @returns the cookie's value and how long it lives at most, in seconds; undefined when the account was changed meanwhile
 */
export async function openCookieSession(
  { config, secrets }: Pick<Parts, 'config' | 'secrets'>,
  tx: Tx,
  account: Credentials,
  opening: Opening,
): Promise<{ value: string; seconds: number } | undefined> {
  const id = newId()
  const { text, hash } = makeSelfProving(secrets, 'cookie', { id, userId: account.id })
  const life = await openSession({ config }, tx, account, { ...opening, id, kind: 'cookie', secretHash: hash })
  return life && { value: text, seconds: life.absoluteSeconds }
}
