import { z } from 'zod'
import { AccountView, FullName, KnownEmail, NewEmail } from '../../accounts/index.ts'
import { ErrorBody, type App } from '../../platform/http/index.ts'
import { callerOf } from '../factor/prove.ts'
import type { Parts } from '../parts.ts'
import { PasswordText } from '../password/rules.ts'
import { proveAccount } from '../prove.ts'
import { register } from '../register.ts'
import { refreshSession } from '../session/refresh.ts'
import { assertOwnPage, DeviceName, signIn, SignedIn, SignInQuery, TokenPair } from './signing-in.ts'

/** Register, sign in, refresh. */
export function signInRoutes(app: App, parts: Parts): void {
  for (const url of ['/api/v1/auth/register', '/api/v1/auth/signup']) {
    app.post(
      url,
      {
        config: { needs: 'public', rule: 'AUTH_REGISTER' },
        schema: {
          tags: ['auth'],
          summary: 'Make an account',
          description:
            'Answers the same for an address that already has an account; its owner hears of it by mail. ' +
            'Passwords: no rules of composition, but not one of the most used and not made of the address or our name.',
          body: z.strictObject({ email: NewEmail, password: PasswordText, full_name: FullName.optional() }),
          response: { 201: AccountView, 400: ErrorBody },
        },
      },
      async (req, reply) => reply.code(201).send(await register(parts, req.body)),
    )
  }

  app.post(
    '/api/v1/auth/login',
    {
      config: { needs: 'public', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Sign in',
        description:
          '`?session=cookie` (our own pages alone): the session is a cookie, and no tokens are in the answer. ' +
          '401 `TOTP_REQUIRED`: send `totp` as well, a code of the authenticator app, a recovery code, or (after many wrong passwords) the code just mailed. ' +
          '`password_change_required` comes with a one-time password: that session may only change the password and sign out; `factor_setup_required` to staff without a second factor.',
        querystring: SignInQuery,
        body: z.strictObject({
          email: KnownEmail,
          password: PasswordText,
          totp: z.string().min(1).max(64).optional(),
          device_name: DeviceName.optional(),
        }),
        response: { 200: SignedIn, 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 503: ErrorBody },
      },
    },
    async (req, reply) => {
      const { email, password, totp = null, device_name } = req.body
      const caller = callerOf(req)
      assertOwnPage(parts, req)
      const proven = await proveAccount(parts, { email, password, totp }, caller)
      return signIn(parts, req, reply, proven, device_name)
    },
  )

  app.post(
    '/api/v1/auth/refresh',
    {
      config: { needs: 'public' },
      schema: {
        tags: ['auth'],
        summary: 'Change a refresh token for a new pair',
        description:
          'A token works once. A lost answer may be fetched again for 10 s while its successor is unused; any other second use ends the session.',
        body: z.strictObject({ refresh_token: z.string().min(1).max(512) }),
        response: { 200: z.object(TokenPair), 401: ErrorBody },
      },
    },
    async (req) => refreshSession(parts, req.body.refresh_token),
  )
}
