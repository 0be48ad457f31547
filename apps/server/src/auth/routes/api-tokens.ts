import { z } from 'zod'
import { SCOPES } from '../../accounts/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, plainText, Time, type App } from '../../platform/http/index.ts'
import { makeApiToken, removeApiToken } from '../api-token/manage.ts'
import { listApiTokens } from '../api-token/store.ts'
import type { Parts } from '../parts.ts'
import { principalOf } from '../principal.ts'

const ApiTokenView = z.object({
  id: Id,
  name: z.string(),
  scopes: z.array(z.enum(SCOPES)),
  created_at: Time,
  expires_at: Time,
  last_used_at: Time.nullable(),
})

/** Tokens for automation; only a session of our own sign-in makes and ends them. */
export function apiTokenRoutes(app: App, parts: Parts): void {
  app.get(
    '/api/v1/users/me/api-tokens',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['users'],
        summary: 'My API tokens',
        querystring: PageQuery,
        response: { 200: listOf(ApiTokenView) },
      },
    },
    async (req) => {
      const { rows, total } = await listApiTokens(parts.db, principalOf(req).userId, req.query)
      return listAnswer(req.url, req.query, total, rows)
    },
  )

  app.post(
    '/api/v1/users/me/api-tokens',
    {
      config: { needs: 'me:secure', idempotent: true },
      schema: {
        tags: ['users'],
        summary: 'Make an API token',
        description:
          '`vpn`: servers, devices, connections, own usage; `account`: also profile and billing; `staff`: what the role allows. ' +
          'None reaches passwords, factors, sessions or tokens. At most a year, with `staff` 30 days. `token` is shown this once.',
        body: z.strictObject({
          name: plainText(1, 100),
          scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
          expires_at: z.iso
            .datetime({ offset: true })
            .transform((text) => new Date(text))
            .meta({ description: 'RFC 3339' }),
        }),
        response: {
          201: ApiTokenView.extend({ token: z.string() }),
          400: ErrorBody,
          403: ErrorBody,
          409: ErrorBody,
        },
      },
    },
    async (req, reply) =>
      reply.code(201).send(await makeApiToken(parts, principalOf(req), req.body, req.id, req.idempotency)),
  )

  app.delete(
    '/api/v1/users/me/api-tokens/:token_id',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['users'],
        summary: 'End an API token',
        params: z.strictObject({ token_id: Id }),
        response: { 204: z.void(), 404: ErrorBody },
      },
    },
    async (req, reply) => {
      await removeApiToken(parts, principalOf(req), req.params.token_id)
      return reply.code(204).send()
    },
  )
}
