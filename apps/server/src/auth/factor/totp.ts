import { Secret, TOTP } from 'otpauth'

/** Seconds a code stands for (RFC 6238); one step before and after is taken too, for clocks that differ. */
const STEP_S = 30
const WINDOW = 1
const SECRET_BYTES = 20
const CODE = /^\d{6}$/

/** What every authenticator app understands: SHA-1, six digits, 30 seconds. */
const totp = (secret: Uint8Array, issuer: string, label: string): TOTP =>
  new TOTP({
    issuer,
    label,
    secret: new Secret({ buffer: Uint8Array.from(secret).buffer }),
    algorithm: 'SHA1',
    digits: 6,
    period: STEP_S,
  })

/** 160 random bits. */
export const newTotpSecret = (): Uint8Array => new Secret({ size: SECRET_BYTES }).bytes

/** @param label what the app shows beside the issuer: the account's address */
export function totpUri(secret: Uint8Array, issuer: string, label: string): { secret: string; uri: string } {
  const made = totp(secret, issuer, label)
  return { secret: made.secret.base32, uri: made.toString() }
}

/**
 * The step a code is right for, undefined when it is wrong. Compared in constant time.
 * @param now milliseconds since 1970
 */
export function totpStep(secret: Uint8Array, code: string, now: number): bigint | undefined {
  if (!CODE.test(code)) return undefined
  const delta = totp(secret, '', '').validate({ token: code, timestamp: now, window: WINDOW })
  return delta === null ? undefined : BigInt(Math.floor(now / 1000 / STEP_S) + delta)
}
