import type { IncomingMessage } from 'node:http'
import type { AccessEnd } from '../accounts/index.ts'
import type { Attempts } from '../platform/attempts.ts'
import type { Clock } from '../platform/clock.ts'
import type { Config } from '../platform/config/index.ts'
import type { Sql } from '../platform/db/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import type { Mailer } from '../platform/mail/index.ts'
import type { Secrets } from '../platform/secrets.ts'
import type { SessionCookies } from './cookie/cookie.ts'
import type { Passwords } from './password/hash.ts'
import type { PasswordRules } from './password/rules.ts'
import type { Revocations } from './session/revocations.ts'
import type { SessionReader } from './session/store.ts'
import type { AccessTokens } from './token/access.ts'

export type AuthConfig = Pick<
  Config,
  | 'ACCESS_TOKEN_EXPIRE_MINUTES'
  | 'ADMIN_EMAIL'
  | 'ADMIN_PASSWORD'
  | 'ANONYMOUS_ACCOUNTS'
  | 'APP_NAME'
  | 'JWT_ALGORITHM'
  | 'JWT_SECRET_KEY'
  | 'PASSWORD_MIN_LENGTH'
  | 'REFRESH_TOKEN_EXPIRE_DAYS'
  | 'REQUIRE_EMAIL_VERIFICATION'
  | 'production'
>

/** What the login answer says of the subscription. */
export type SubscriptionBrief = { status: 'active' | 'past_due' | 'canceled'; expiry: Date | null }

/** What every use case of this room is handed. */
export type Parts = {
  db: Sql
  sessions: SessionReader
  kv: Kv
  config: AuthConfig
  secrets: Secrets
  log: Log
  clock: Clock
  /** Where links in mails lead and what tokens name as their issuer. */
  publicUrl: string
  mailer: Mailer
  passwords: Passwords
  rules: PasswordRules
  tokens: AccessTokens
  cookies: SessionCookies
  revocations: Revocations
  /** Where failed proofs and tries of second ones are counted. */
  attempts: Attempts
  /** The country an address lies in, ISO 3166-1 alpha-2; null where it is not known. */
  countryOf(req: IncomingMessage): string | null
  /** Failed passwords in a row that an account stands before its sign-in also needs a mailed code. */
  failuresAllowed: number
  /** Everything that ends with an account's access, of this room and those above. */
  ends: readonly AccessEnd[]
  subscriptionOf(userId: string): Promise<SubscriptionBrief>
}
