import { z } from 'zod'
import { AccountView, FullName, KnownEmail, NewEmail } from '../../accounts/index.ts'
import { ErrorBody, type App } from '../../platform/http/index.ts'
import { invalidField } from '../../platform/errors.ts'
import { proveAccountNumber, registerAnonymous } from '../anonymous.ts'
import { callerOf, type Caller } from '../factor/prove.ts'
import type { Parts } from '../parts.ts'
import { PasswordText } from '../password/rules.ts'
import { proveAccount, type Proven } from '../prove.ts'
import { register } from '../register.ts'
import { refreshSession } from '../session/refresh.ts'
import { assertOwnPage, DeviceName, signIn, SignedIn, SignInQuery, TokenPair } from './signing-in.ts'

type Credentials = { email?: string | undefined; password?: string | undefined; account_number?: string | undefined }

/** By address and password, or by an account number. @throws {InvalidInput} neither, or both */
function prove(parts: Parts, body: Credentials & { totp?: string | undefined }, caller: Caller): Promise<Proven> {
  const { email, password, account_number: accountNumber, totp = null } = body
  if (accountNumber !== undefined && email === undefined && password === undefined)
    return proveAccountNumber(parts, { accountNumber, totp }, caller)
  if (accountNumber !== undefined) throw invalidField('account_number', 'stands alone, without `email` and `password`')
  if (email === undefined) throw invalidField('email', 'is needed')
  if (password === undefined) throw invalidField('password', 'is needed')
  return proveAccount(parts, { email, password, totp }, caller)
}

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
    '/api/v1/auth/register-anonymous',
    {
      config: { needs: 'public', rule: 'AUTH_REGISTER' },
      schema: {
        tags: ['auth'],
        summary: 'Make an account without address or password',
        description: 'Its number is its only credential, shown this once. 404 where ANONYMOUS_ACCOUNTS is not set.',
        body: z.strictObject({}),
        response: { 201: z.object({ account_number: z.string() }), 404: ErrorBody },
      },
    },
    async (_req, reply) => reply.code(201).send({ account_number: await registerAnonymous(parts) }),
  )

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
          '`password_change_required` comes with a one-time password: that session may only change the password and sign out; `factor_setup_required` to staff without a second factor. ' +
          '403: staff whose only second factor is a passkey signs in by that.',
        querystring: SignInQuery,
        body: z.strictObject({
          email: KnownEmail.optional(),
          password: PasswordText.optional(),
          account_number: z
            .string()
            .min(1)
            .max(64)
            .optional()
            .meta({ description: 'of an anonymous account; case and dashes do not count' }),
          totp: z.string().min(1).max(64).optional(),
          device_name: DeviceName.optional(),
        }),
        response: { 200: SignedIn, 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 503: ErrorBody },
      },
    },
    async (req, reply) => {
      assertOwnPage(parts, req)
      return signIn(parts, req, reply, await prove(parts, req.body, callerOf(req)), req.body.device_name)
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
