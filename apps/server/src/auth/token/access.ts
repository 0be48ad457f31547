import { hash as digest, randomBytes } from 'node:crypto'
import { errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import type { Role } from '../../accounts/index.ts'
import type { Clock } from '../../platform/clock.ts'
import { AppError, Unauthenticated } from '../../platform/errors.ts'
import type { TokenKeys } from './keys.ts'

export const AUDIENCE = 'prime-vpn'
const TYPE = 'at+jwt'
/** Ours are about 500 characters. */
const MAX_TOKEN = 2_048
/** Verified tokens remembered: at 200 bytes each some 4 MB. An Ed25519 check costs two whole requests. */
const MAX_REMEMBERED = 20_000
const FORM = /^[\w-]{1,512}\.[\w-]{1,1536}\.[\w-]{1,128}$/

const Claims = z.object({
  sub: z.uuid(),
  sid: z.uuid(),
  exp: z.int().positive(),
  /** Of an app's token: it counts where the session is an app's. */
  scope: z.string().optional(),
})
/** What a token proves: who signed in and in which session, until when (seconds since 1970). */
export type Claims = z.infer<typeof Claims>

export class TokenExpired extends AppError {
  constructor() {
    super('TOKEN_EXPIRED', 'The access token has expired. Refresh it.')
  }
}

/** A token whose `kid` we do not have: an old key may be lost, so this is no attempt at forgery. */
export class UnknownKey extends Unauthenticated {}

const refused = () => new Unauthenticated('The access token is not valid.')

export type AccessTokens = {
  /** @returns the token and its life in whole seconds */
  issue(session: { userId: string; sessionId: string; role: Role }): Promise<{ token: string; expiresIn: number }>
  /** Signature, kind, issuer, audience and time; not the session. @throws {TokenExpired} {UnknownKey} {Unauthenticated} */
  verify(token: string): Promise<Claims>
}

/** The last part must be written the one canonical way: no second text for the same signature. */
function isCanonical(token: string): boolean {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}

/**
 * Access tokens (RFC 9068). One algorithm by configuration; `jwk`, `jku` and `x5u` of a header are not looked at.
 * @param lifeSeconds how long a token is good
 */
export function createAccessTokens(keys: TokenKeys, issuer: string, lifeSeconds: number, clock: Clock): AccessTokens {
  const remembered = new Map<string, Claims>()

  function remember(name: string, claims: Claims): void {
    if (remembered.size >= MAX_REMEMBERED) {
      const oldest = remembered.keys().next().value
      if (oldest !== undefined) remembered.delete(oldest)
    }
    remembered.set(name, claims)
  }

  async function check(token: string): Promise<Claims> {
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid, crit }) => {
          if (crit !== undefined) throw refused()
          const key = typeof kid === 'string' ? keys.verifying.get(kid) : undefined
          if (!key) throw new UnknownKey('The access token is not valid.')
          return key
        },
        {
          algorithms: [keys.algorithm],
          typ: TYPE,
          issuer,
          audience: AUDIENCE,
          clockTolerance: 0,
          requiredClaims: ['sub', 'sid', 'exp', 'iat', 'jti'],
          currentDate: new Date(clock.now()),
        },
      )
      return Claims.parse(payload)
    } catch (error) {
      if (error instanceof UnknownKey) throw error
      if (error instanceof errors.JWTExpired) throw new TokenExpired()
      throw refused()
    }
  }

  return {
    async issue({ userId, sessionId, role }) {
      const now = Math.floor(clock.now() / 1000)
      const token = await new SignJWT({ sid: sessionId, role })
        .setProtectedHeader({ alg: keys.algorithm, typ: TYPE, kid: keys.signing.id })
        .setIssuer(issuer)
        .setAudience(AUDIENCE)
        .setSubject(userId)
        .setJti(randomBytes(16).toString('base64url'))
        .setIssuedAt(now)
        .setExpirationTime(now + lifeSeconds)
        .sign(keys.signing.key)
      return { token, expiresIn: lifeSeconds }
    },

    async verify(token) {
      if (token.length > MAX_TOKEN || !FORM.test(token)) throw refused()
      const name = digest('sha256', token, 'base64url')
      const known = remembered.get(name)
      if (known) {
        if (known.exp * 1000 > clock.now()) return known
        remembered.delete(name)
        throw new TokenExpired()
      }
      if (!isCanonical(token)) throw refused()
      const claims = await check(token)
      remember(name, claims)
      return claims
    },
  }
}
