import type { IncomingMessage } from 'node:http'
import type { onRequestAsyncHookHandler } from 'fastify'
import { emailKey, type AccessEnd } from '../accounts/index.ts'
import { uncountedAttempts, type Attempts } from '../platform/attempts.ts'
import { systemClock, type Clock } from '../platform/clock.ts'
import type { Sql, Tx } from '../platform/db/index.ts'
import type { App } from '../platform/http/index.ts'
import type { Jobs, Schedule } from '../platform/jobs.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { sweepOutbox, type Mailer } from '../platform/mail/index.ts'
import type { Secrets } from '../platform/secrets.ts'
import { deleteApiTokens, sweepApiTokens } from './api-token/store.ts'
import { authenticate } from './authenticate.ts'
import { sessionCookies } from './cookie/cookie.ts'
import { authenticateToken, principalFor } from './credentials.ts'
import { resetFactors, type FactorReset } from './factor/reset.ts'
import { deleteFactors, sweepFactors } from './factor/store.ts'
import { accountMac, forgetFailures, sweepFailures } from './failures.ts'
import { ensureFirstAdmin, type FirstAdmin } from './first-admin.ts'
import { failedProofOf } from './failed-proof.ts'
import { identify, type Identity } from './identify.ts'
import { MAIL_JOB, mailJob } from './mail/job.ts'
import { forgetMailedProofs, sweepMailTokens } from './mail/store.ts'
import { createOAuth } from './oauth/create.ts'
import type { AuthConfig, Parts, SubscriptionBrief } from './parts.ts'
import { createPasswords } from './password/hash.ts'
import { createPasswordRules } from './password/rules.ts'
import type { Principal } from './principal.ts'
import { apiTokenRoutes } from './routes/api-tokens.ts'
import { factorRoutes } from './routes/factors.ts'
import { proveAgain } from './prove-again.ts'
import { passkeyRoutes } from './routes/passkeys.ts'
import { recoveryRoutes } from './routes/recovery.ts'
import { sessionRoutes } from './routes/sessions.ts'
import { signInRoutes } from './routes/sign-in.ts'
import { createRevocations } from './session/revocations.ts'
import { revokeSessions, sessionReader, sweepSessions } from './session/store.ts'
import { createAccessTokens } from './token/access.ts'
import { tokenKeys } from './token/keys.ts'
import type { Revocation } from './types.ts'
import { confirmPassword } from './change-password.ts'
import { requestEmailChange, type EmailWish } from './email-change.ts'

export type AuthDeps = {
  db: Sql
  kv: Kv
  secrets: Secrets
  config: AuthConfig
  log: Log
  clock?: Clock
  /** `PUBLIC_URL`, or the address we listen on: the issuer of tokens and the start of links. */
  publicUrl: string
  mailer: Mailer
  /** What ends with an account's access. This room puts its own part in front; rooms above add theirs. */
  ends: AccessEnd[]
  subscriptionOf(userId: string): Promise<SubscriptionBrief>
  /** Hears of wrong passwords, codes and secrets, whichever route they came by; nobody by default. */
  attempts?: Partial<Attempts>
  /** Where a request comes from, as the list of sessions shows it; unknown by default. */
  countryOf?(req: IncomingMessage): string | null
  /** Failed passwords in a row before a sign-in also needs a mailed code (AUTH_ACCOUNT); 100 by default. */
  failuresAllowed?: number
}

/** What other rooms and the composition root get from this room. */
export type Auth = {
  /**
   * `onRequest` hook: routes with `needs: 'public'` pass; others need `Authorization: Bearer`, a live session and the
   * permission. @throws 401 UNAUTHENTICATED / TOKEN_EXPIRED (with `WWW-Authenticate`), 403 FORBIDDEN
   */
  authenticate: onRequestAsyncHookHandler
  /** The same judgement of a bare token, for sockets. @throws 401 UNAUTHENTICATED / TOKEN_EXPIRED */
  authenticateToken(token: string): Promise<Principal>
  /** What a request's token proves by its signature alone: for limits, never for rights. Never throws. */
  identify(req: IncomingMessage): Promise<Identity>
  /** Reads a principal's session again: null once it is revoked or ended, or its user is inactive. */
  refreshPrincipal(principal: Principal): Promise<Principal | null>
  /** Hears of every revocation on every instance, usually within milliseconds. @returns ends the subscription */
  onSessionRevoked(listener: (revocation: Revocation) => void): () => void
  /** @throws {Unauthenticated} */
  confirmPassword(userId: string, password: string): Promise<void>
  /** By the password, or a sign-in less than 5 min old where there is none. @throws {InvalidInput} {Unauthenticated} */
  proveAgain(caller: Principal, password: string | undefined): Promise<void>
  /** Forgets what is kept by an address alone, for an erasure. */
  forgetAddress(tx: Tx, email: string): Promise<void>
  /** Mails a proof to another address, which counts once answered. @throws {Unauthenticated} {Unavailable}. 429 */
  requestEmailChange(caller: Principal, wish: EmailWish, req: IncomingMessage): Promise<void>
  /** For an operator at the machine: takes a lost factor away, by e-mail address or id. @throws {AppError} NOT_FOUND */
  resetFactors(who: string): Promise<FactorReset>
  ensureFirstAdmin(startedAt?: Date): Promise<FirstAdmin>
  routes(app: App): void
  jobs: Jobs
  schedule: Schedule[]
  close(): void
}

const SWEEP_JOB = 'auth-sweep'
/** NIST 800-63B-4, 3.2.2. */
const FAILURES_ALLOWED = 100

/** Builds the room: hashes one password nobody knows, reads the list of common ones, listens for revocations. */
export async function createAuth(deps: AuthDeps): Promise<Auth> {
  const { db, config, secrets } = deps
  const clock = deps.clock ?? systemClock
  const attempts: Attempts = {
    failed: (req, kind) => deps.attempts?.failed?.(req, kind),
    spend: (...spent) => (deps.attempts?.spend ? deps.attempts.spend(...spent) : uncountedAttempts.spend(...spent)),
  }
  const keys = tokenKeys(config, secrets)
  const parts: Parts = {
    ...deps,
    sessions: sessionReader(db),
    clock,
    attempts,
    countryOf: (req) => deps.countryOf?.(req) ?? null,
    failuresAllowed: deps.failuresAllowed ?? FAILURES_ALLOWED,
    passwords: await createPasswords(),
    rules: createPasswordRules({ minLength: config.PASSWORD_MIN_LENGTH, appName: config.APP_NAME }),
    tokens: createAccessTokens(keys, deps.publicUrl, config.ACCESS_TOKEN_EXPIRE_MINUTES * 60, clock),
    cookies: sessionCookies(deps.publicUrl, secrets),
    revocations: await createRevocations(db, deps.kv, deps.log),
  }
  deps.ends.unshift(async (tx, userId, why) => {
    await revokeSessions(tx, userId)
    await deleteApiTokens(tx, userId)
    await forgetMailedProofs(tx, userId)
    // What was made before the address was proven may be somebody else's.
    if (why === 'first_verified') await deleteFactors(tx, userId)
    return () => parts.revocations.announce({ userId, sessionId: null })
  })

  const oauth = createOAuth({ ...parts, keys })

  return {
    authenticate: authenticate(parts),
    authenticateToken: (token) => authenticateToken(parts, token),
    identify: (req) => identify(parts, req),
    async refreshPrincipal({ userId, sessionId, credentialExpiresAt, permissions }) {
      const exp = Math.floor(credentialExpiresAt.getTime() / 1000)
      // The widest scope; what the credential had is all that is left of it.
      const now = await principalFor(parts, { sub: userId, sid: sessionId, exp, scope: 'staff' })
      return now ? { ...now, permissions: new Set([...now.permissions].filter((each) => permissions.has(each))) } : null
    },
    onSessionRevoked: (listener) => parts.revocations.listen(listener),
    async confirmPassword(userId, password) {
      await confirmPassword(parts, userId, password)
    },
    proveAgain: (caller, password) => proveAgain(parts, caller, password),
    async forgetAddress(tx, email) {
      await forgetFailures(tx, accountMac(secrets, emailKey(email)))
    },
    requestEmailChange: (caller, wish, req) => requestEmailChange(parts, caller, wish, req),
    resetFactors: (who) => resetFactors(parts, who.trim()),
    ensureFirstAdmin: (startedAt) => ensureFirstAdmin(parts, startedAt),
    routes(app) {
      app.addHook('onError', async (req, _reply, error) => {
        const kind = failedProofOf(error)
        if (kind) attempts.failed(req.raw, kind)
      })
      signInRoutes(app, parts)
      factorRoutes(app, parts)
      passkeyRoutes(app, parts)
      sessionRoutes(app, parts)
      apiTokenRoutes(app, parts)
      recoveryRoutes(app, parts)
      oauth.routes(app)
    },
    jobs: {
      [MAIL_JOB]: mailJob(parts),
      async [SWEEP_JOB]() {
        await sweepSessions(db)
        await sweepMailTokens(db)
        await sweepFactors(db)
        await sweepFailures(db)
        await sweepApiTokens(db)
        await sweepOutbox(db)
        await oauth.sweep()
      },
    },
    schedule: [{ cron: '*/10 * * * *', job: SWEEP_JOB }],
    close: () => parts.revocations.close(),
  }
}
