import { Secret, TOTP } from 'otpauth'

/** The code an authenticator app shows for a base32 secret. @param now milliseconds since 1970 */
export const codeAt = (secret: string, now = Date.now()): string =>
  new TOTP({ secret: Secret.fromBase32(secret), algorithm: 'SHA1', digits: 6, period: 30 }).generate({ timestamp: now })

/** A six-digit code that is wrong at every step near `now`. */
export function wrongCode(secret: string, now = Date.now()): string {
  const near = new Set([-2, -1, 0, 1, 2].map((steps) => codeAt(secret, now + steps * 30_000)))
  for (let n = 0; ; n++) {
    const code = String(n).padStart(6, '0')
    if (!near.has(code)) return code
  }
}
