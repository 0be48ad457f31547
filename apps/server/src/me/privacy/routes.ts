import { z } from 'zod'
import { PasswordText, principalOf } from '../../auth/index.ts'
import { ErrorBody, Id, type App } from '../../platform/http/index.ts'
import { askForErasure, type EraseDeps } from './erase.ts'
import { askForExport, readExport } from './export.ts'

const Proof = z.strictObject({
  password: PasswordText.optional().meta({
    description: 'Left out only by an account without one, which needs a sign-in less than 5 minutes old.',
  }),
})

/** What a person may ask for: a copy of their data, and its end. */
export function privacyRoutes(app: App, deps: EraseDeps): void {
  app.post(
    '/api/v1/users/me/export',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', idempotent: true },
      schema: {
        tags: ['users'],
        summary: 'Have a copy of all my data made',
        description: 'Fetch it by the session that asked, within 24 hours.',
        body: Proof,
        response: { 202: z.object({ export_id: Id }), 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) =>
      reply
        .code(202)
        .send({ export_id: await askForExport(deps, principalOf(req), req.body.password, req.idempotency) }),
  )

  app.get(
    '/api/v1/users/me/export',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['users'],
        summary: 'Fetch the copy of my data',
        description: '404 until it is ready: rows by the name of their table.',
        response: { 200: z.record(z.string(), z.unknown()), 404: ErrorBody },
      },
    },
    async (req, reply) => {
      const text = await readExport(deps, principalOf(req))
      return reply
        .type('application/json; charset=utf-8')
        .header('content-disposition', 'attachment; filename="prime-vpn-export.json"')
        .serializer(String)
        .send(text as never)
    },
  )

  app.delete(
    '/api/v1/users/me',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['users'],
        summary: 'Erase my account and all its data',
        description: 'Access and tunnels end with the answer; the data goes at once in the background, for good.',
        body: Proof,
        response: { 202: z.object({ message: z.string() }), 401: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) => {
      await askForErasure(deps, principalOf(req), req.body.password)
      return reply.code(202).send({ message: 'Your account is switched off and its data is being erased.' })
    },
  )
}
