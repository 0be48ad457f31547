import { timingSafeEqual } from 'node:crypto'
import type { Parts } from '../parts.ts'
import { takeMailToken, tryCode } from './store.ts'
import { codeMac } from './tokens.ts'

/** Takes the code that a closed account was mailed: five tries each, once. @returns whether it was right */
export async function takeSignInCode(
  parts: Pick<Parts, 'db' | 'secrets'>,
  userId: string,
  email: string,
  code: string,
): Promise<boolean> {
  const sent = await tryCode(parts.db, email, ['sign_in'])
  if (!sent || !timingSafeEqual(sent.code_mac, codeMac(parts.secrets, userId, code))) return false
  return (await takeMailToken(parts.db, sent.hash, ['sign_in'])) !== undefined
}
