import { createHash, randomBytes, randomInt } from 'node:crypto'
import type { Secrets } from '../../platform/secrets.ts'

const FORM = /^[A-Za-z0-9_-]{43}$/
const CODE_FORM = /^\d{6}$/

/** 256 random bits for a link. */
export const newLinkToken = (): string => randomBytes(32).toString('base64url')

/** What of a link's token is stored; null for text that was never one. */
export const linkTokenHash = (token: string): Buffer | null =>
  FORM.test(token) ? createHash('sha256').update('mail-token\0').update(token).digest() : null

/** Six digits, every value as likely. */
export const newCode = (): string => String(randomInt(1_000_000)).padStart(6, '0')

/** What of a code is stored: a MAC, since a million values can be tried out. Bound to the account it was sent for. */
export const codeMac = (secrets: Secrets, userId: string, code: string): Buffer =>
  secrets.mac('mail-code', `${userId} ${CODE_FORM.test(code) ? code : ''}`)
