import { z } from 'zod'
import { KnownEmail } from '../../accounts/index.ts'
import { ErrorBody, type App } from '../../platform/http/index.ts'
import { InvalidInput } from '../../platform/errors.ts'
import type { Parts } from '../parts.ts'
import { PasswordText } from '../password/rules.ts'
import { forgotPassword, resetPassword } from '../recover.ts'
import { resendVerification, verifyEmail, type Proof } from '../verify.ts'

const LinkToken = z.string().min(1).max(512)
const Accepted = z.object({ message: z.string() })
const MAYBE_SENT = { message: 'If the address has an account, a mail is on its way.' }

const Verification = z.strictObject({
  token: LinkToken.optional(),
  email: KnownEmail.optional(),
  code: z
    .string()
    .regex(/^\d{6}$/, 'must be 6 digits')
    .optional(),
})

/** Either a link's token or an address with its code. */
function proofOf({ token, email, code }: z.infer<typeof Verification>): Proof {
  if (token !== undefined && email === undefined && code === undefined) return { token }
  if (token === undefined && email !== undefined && code !== undefined) return { email, code }
  throw new InvalidInput([], 'Send either `token`, or `email` and `code`.')
}

/** Proving an address and setting a forgotten password; all of it by POST: a link alone changes nothing. */
export function recoveryRoutes(app: App, parts: Parts): void {
  app.post(
    '/api/v1/auth/verify-email',
    {
      config: { needs: 'public', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Prove an e-mail address',
        description:
          'With the token of the mailed link, or with address and typed code (10 minutes, 5 tries). ' +
          'The first proof of an address ends the sessions and removes the devices made before it.',
        body: Verification,
        response: { 200: z.object({ is_verified: z.boolean() }), 400: ErrorBody },
      },
    },
    async (req) => {
      await verifyEmail(parts, proofOf(req.body))
      return { is_verified: true }
    },
  )

  app.post(
    '/api/v1/auth/resend-verification',
    {
      config: { needs: 'public', rule: 'AUTH_PASSWORD_RESET' },
      schema: {
        tags: ['auth'],
        summary: 'Mail the link and code again',
        body: z.strictObject({ email: KnownEmail }),
        response: { 202: Accepted },
      },
    },
    async (req, reply) => {
      await resendVerification(parts, req.body.email)
      return reply.code(202).send(MAYBE_SENT)
    },
  )

  for (const url of ['/api/v1/auth/forgot-password', '/api/v1/auth/password-reset']) {
    app.post(
      url,
      {
        config: { needs: 'public', rule: 'AUTH_PASSWORD_RESET' },
        schema: {
          tags: ['auth'],
          summary: 'Mail a link to set a new password',
          description: 'The same answer whether or not the address is known.',
          body: z.strictObject({ email: KnownEmail }),
          response: { 202: Accepted },
        },
      },
      async (req, reply) => {
        await forgotPassword(parts, req.body.email)
        return reply.code(202).send(MAYBE_SENT)
      },
    )
  }

  app.post(
    '/api/v1/auth/reset-password',
    {
      config: { needs: 'public', rule: 'AUTH_PASSWORD_RESET' },
      schema: {
        tags: ['auth'],
        summary: 'Set a new password by the mailed link',
        description: 'The link works once, for 30 minutes. Ends every session; does not sign in.',
        body: z.strictObject({ token: LinkToken, password: PasswordText }),
        response: { 204: z.void(), 400: ErrorBody },
      },
    },
    async (req, reply) => {
      await resetPassword(parts, req.body)
      return reply.code(204).send()
    },
  )
}
