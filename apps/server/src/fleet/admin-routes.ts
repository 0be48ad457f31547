import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { ErrorBody, Id, listAnswer, listOf, Time, type App } from '../platform/http/index.ts'
import { createServer } from './create.ts'
import type { Acts, Actor } from './deps.ts'
import { drainServer } from './drain.ts'
import { readServer } from './read.ts'
import { removeServer } from './remove.ts'
import { rotateKey } from './rotate.ts'
import { AdminServer, AdminServerQuery, NewServer, ServerChange } from './schemas.ts'
import { adminServers } from './server-store.ts'
import { issueToken } from './tokens.ts'
import { changeServer } from './update.ts'

const params = z.strictObject({ id: Id })
const tags = ['admin: servers']
const refused = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody }
const conflicting = { ...refused, 409: ErrorBody }
const reading = { needs: 'servers:admin-read' }
const writing = { needs: 'servers:write' }
const base = '/api/v1/admin/servers'

export type AdminRoutesDeps = { acts: Acts; callerOf: (req: FastifyRequest) => { userId: string } }

/** The fleet for staff. */
export function adminServerRoutes(app: App, { acts, callerOf }: AdminRoutesDeps): void {
  const actorOf = (req: FastifyRequest): Actor => ({ userId: callerOf(req).userId, requestId: req.id })

  app.get(
    base,
    {
      config: reading,
      schema: {
        tags,
        summary: 'All servers, also those that are offline or not enrolled',
        querystring: AdminServerQuery,
        response: { 200: listOf(AdminServer), ...refused },
      },
    },
    async (req) => {
      const { total, data } = await adminServers(acts.db, req.query)
      return listAnswer(req.url, req.query, total, data)
    },
  )

  app.post(
    base,
    {
      config: { ...writing, idempotent: true },
      schema: { tags, summary: 'Add a server', body: NewServer, response: { 201: AdminServer, ...conflicting } },
    },
    async (req, reply) => {
      const begun = req.idempotency?.found
      if (begun) return reply.code(201).send(await readServer(acts.db, begun))
      return reply.code(201).send(await createServer(acts, actorOf(req), req.body, req.idempotency))
    },
  )

  app.get(
    `${base}/:id`,
    { config: reading, schema: { tags, summary: 'One server', params, response: { 200: AdminServer, ...refused } } },
    async (req) => readServer(acts.db, req.params.id),
  )

  for (const method of ['PUT', 'PATCH'] as const) {
    app.route({
      method,
      url: `${base}/:id`,
      config: writing,
      schema: {
        tags,
        summary: 'Change what is given of a server',
        params,
        body: ServerChange,
        response: { 200: AdminServer, ...conflicting },
      },
      handler: async (req) => changeServer(acts, actorOf(req), req.params.id, req.body),
    })
  }

  app.delete(
    `${base}/:id`,
    {
      config: writing,
      schema: {
        tags,
        summary: 'Delete a server; with tunnels only after it was drained',
        params,
        response: { 204: z.null(), ...conflicting },
      },
    },
    async (req, reply) => {
      await removeServer(acts, actorOf(req), req.params.id)
      return reply.code(204).send(null)
    },
  )

  app.post(
    `${base}/:id/drain`,
    {
      config: writing,
      schema: {
        tags,
        summary: 'Take no new tunnels; undone by `PATCH {"draining":false}`',
        params,
        body: z.strictObject({}),
        response: { 202: AdminServer, ...refused },
      },
    },
    async (req, reply) => reply.code(202).send(await drainServer(acts, actorOf(req), req.params.id)),
  )

  app.post(
    `${base}/:id/enrollment-token`,
    {
      config: { ...writing, idempotent: true },
      schema: {
        tags,
        summary: 'A token for one enrolment within an hour; one before it is revoked',
        params,
        body: z.strictObject({ replace: z.boolean().default(false) }),
        response: { 201: z.object({ token: z.string(), expires_at: Time }), ...conflicting },
      },
    },
    async (req, reply) => {
      // A token that a dead instance made was never told: another one revokes it.
      const replace = req.body.replace
      const token = await issueToken(acts, actorOf(req), req.params.id, replace, req.idempotency)
      return reply.code(201).header('cache-control', 'no-store').send(token)
    },
  )

  app.post(
    `${base}/:id/rotate-key`,
    {
      config: writing,
      schema: {
        tags,
        summary: "Ask the server's node for a new WireGuard key",
        params,
        body: z.strictObject({}),
        response: { 202: AdminServer, ...conflicting, 503: ErrorBody },
      },
    },
    async (req, reply) => reply.code(202).send(await rotateKey(acts, actorOf(req), req.params.id)),
  )
}
