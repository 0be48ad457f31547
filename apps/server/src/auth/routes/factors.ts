import { z } from 'zod'
import { ErrorBody, type App } from '../../platform/http/index.ts'
import { disableFactor, enableFactor, renewRecoveryCodes, setUpFactor } from '../factor/manage.ts'
import { callerOf } from '../factor/prove.ts'
import type { Parts } from '../parts.ts'
import { PasswordText } from '../password/rules.ts'
import { principalOf } from '../principal.ts'

const Code = z.string().min(1).max(64).meta({ description: 'of the authenticator app, or a recovery code' })
const AppCode = z.string().regex(/^\d{6}$/, 'must be 6 digits')
const RecoveryCodes = z.object({ recovery_codes: z.array(z.string()) })
const Both = z.strictObject({
  password: PasswordText.optional().meta({ description: 'Left out only by an account that has none.' }),
  code: Code,
})

/** Switching the second factor on and off. */
export function factorRoutes(app: App, parts: Parts): void {
  app.post(
    '/api/v1/auth/2fa/setup',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'Begin to set up an authenticator app',
        description:
          'Nothing is asked for at sign-in before `enable` saw a code. `password` is needed once the sign-in is 5 minutes old.',
        body: z.strictObject({ password: PasswordText.optional() }),
        response: {
          200: z.object({
            secret: z.string().meta({ description: 'base32' }),
            otpauth_url: z.string(),
            qr: z.string().meta({ description: 'SVG as a data URL' }),
          }),
          401: ErrorBody,
          409: ErrorBody,
        },
      },
    },
    async (req) => setUpFactor(parts, principalOf(req), req.body.password),
  )

  app.post(
    '/api/v1/auth/2fa/enable',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'Switch two-factor sign-in on',
        description: 'Ends the other sessions. The recovery codes are shown this once; each works once.',
        body: z.strictObject({ code: AppCode }),
        response: { 200: RecoveryCodes, 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req) => {
      const wish = { code: req.body.code, requestId: req.id }
      return { recovery_codes: await enableFactor(parts, principalOf(req), wish, callerOf(req)) }
    },
  )

  app.post(
    '/api/v1/auth/2fa/disable',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Switch two-factor sign-in off',
        description: 'Ends the other sessions.',
        body: Both,
        response: { 204: z.void(), 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) => {
      await disableFactor(parts, principalOf(req), { ...req.body, requestId: req.id }, callerOf(req))
      return reply.code(204).send()
    },
  )

  app.post(
    '/api/v1/auth/2fa/recovery-codes',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Make new recovery codes',
        description: 'They replace all others and end the other sessions.',
        body: Both,
        response: { 200: RecoveryCodes, 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req) => ({
      recovery_codes: await renewRecoveryCodes(
        parts,
        principalOf(req),
        { ...req.body, requestId: req.id },
        callerOf(req),
      ),
    }),
  )
}
