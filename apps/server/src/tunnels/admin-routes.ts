import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { ErrorBody, Id, listAnswer, listOf, type App } from '../platform/http/index.ts'
import { kick, listConnections } from './admin.ts'
import type { TunnelDeps } from './deps.ts'
import { AdminConnection, AdminQuery } from './schemas.ts'

const tags = ['Admin: connections']
const refusals = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody, 429: ErrorBody }
const Kicked = z.object({
  connection_id: Id,
  status: z.literal('ended'),
  removed: z.int().meta({ description: 'nodes that have confirmed' }),
  of: z.int().meta({ description: 'nodes concerned' }),
})

/** What staff may see and do of connections. */
export function adminTunnelRoutes(app: App, deps: TunnelDeps): void {
  app.get(
    '/api/v1/admin/connections',
    {
      schema: {
        tags,
        summary: 'Connections, newest first',
        querystring: AdminQuery,
        response: { 200: listOf(AdminConnection), ...refusals },
      },
      config: { needs: 'connections:read' },
    },
    async (req) => {
      const { total, rows } = await listConnections(deps.db, req.query)
      return listAnswer(req.url, req.query, total, rows)
    },
  )

  app.post(
    '/api/v1/admin/connections/:connection_id/disconnect',
    {
      schema: {
        tags,
        summary: 'End a tunnel; answers on how many nodes its peer is gone',
        params: z.strictObject({ connection_id: Id }),
        body: z.strictObject({}),
        response: { 200: Kicked, ...refusals },
      },
      config: { needs: 'users:write' },
    },
    async (req) => {
      const { connection_id } = req.params
      const removal = await kick(deps, { userId: principalOf(req).userId, requestId: req.id }, connection_id)
      return { connection_id, status: 'ended' as const, ...removal }
    },
  )
}
