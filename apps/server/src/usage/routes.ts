import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import type { Clock } from '../platform/clock.ts'
import type { Sql } from '../platform/db/index.ts'
import { Count, Time, type App } from '../platform/http/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import { lastDays, RangeQuery, rangeOf } from './range.ts'
import { GROUPS, readStatistics, type Group } from './statistics-store.ts'
import { issueTicket, TICKET_SECONDS } from './tickets.ts'

const Statistics = z
  .object({
    from: Time,
    to: Time,
    group_by: z.enum(GROUPS),
    data: z.array(
      z.object({
        key: z.string().meta({ description: "a day, a server's or device's id, or a location" }),
        bytes_sent: Count,
        bytes_received: Count,
        connections: Count,
        duration_seconds: Count,
      }),
    ),
  })
  .meta({ id: 'UsageStatistics' })

const ANALYTICS = [
  ['usage', 'Traffic, tunnels and time'],
  ['connections', 'Tunnels and their time'],
  ['bandwidth', 'Traffic'],
] as const

export type UsageRoutesDeps = { db: Sql; kv: Kv; clock: Clock }

/** Statistics, analytics and the tickets that open sockets. */
export function usageRoutes(app: App, { db, kv, clock }: UsageRoutesDeps): void {
  const answer = async (userId: string | null, range: { from: Date; to: Date }, group: Group) => ({
    ...range,
    group_by: group,
    data: await readStatistics(db, { userId, ...range, group }),
  })

  for (const prefix of ['connection', 'vpn']) {
    app.get(
      `/api/v1/${prefix}/statistics`,
      {
        config: { needs: 'usage:read' },
        schema: {
          tags: ['Connections'],
          summary: 'What your tunnels carried in the last days, by day',
          querystring: z.strictObject({ days: z.coerce.number().int().min(1).max(366).default(30) }),
          response: { 200: Statistics },
        },
      },
      async (req) => answer(principalOf(req).userId, lastDays(req.query.days, clock.now()), 'day'),
    )
  }

  for (const [name, summary] of ANALYTICS) {
    app.get(
      `/api/v1/analytics/${name}`,
      {
        config: { needs: 'usage:read' },
        schema: {
          tags: ['Analytics'],
          summary: `${summary}: your own, for staff everybody's`,
          querystring: z.strictObject({ ...RangeQuery, group_by: z.enum(GROUPS).default('day') }),
          response: { 200: Statistics },
        },
      },
      async (req) => {
        const { userId, permissions } = principalOf(req)
        const range = rangeOf(req.query, clock.now())
        return answer(permissions.has('connections:read') ? null : userId, range, req.query.group_by)
      },
    )
  }

  app.post(
    '/api/v1/ws/ticket',
    {
      config: { needs: 'usage:read' },
      schema: {
        tags: ['Connections'],
        summary: 'A ticket that opens one socket within 30 s, as ?token=',
        body: z.strictObject({}).optional(),
        response: { 200: z.object({ ticket: z.string(), expires_in: z.int() }) },
      },
    },
    async (req, reply) => {
      reply.header('cache-control', 'no-store')
      return { ticket: await issueTicket(kv, principalOf(req)), expires_in: TICKET_SECONDS }
    },
  )
}
