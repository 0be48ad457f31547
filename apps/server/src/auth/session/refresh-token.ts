import { createHash, randomBytes } from 'node:crypto'

/** Tells a refresh token from every other kind of secret, also to scanners of leaked ones. */
const PREFIX = 'prt_'
const FORM = /^prt_[A-Za-z0-9_-]{43}$/

/** 256 random bits. */
export const newRefreshToken = (): string => PREFIX + randomBytes(32).toString('base64url')

/** What of it is stored; null for text that was never one of ours. The whole text counts: cut or extended it is another. */
export const refreshTokenHash = (token: string): Buffer | null =>
  FORM.test(token) ? createHash('sha256').update(token).digest() : null
