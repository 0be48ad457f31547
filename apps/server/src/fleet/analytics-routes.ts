import { z } from 'zod'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, type App } from '../platform/http/index.ts'
import type { Fleet } from './fleet.ts'
import type { FleetServer } from './snapshot.ts'

const Status = z.enum(['operational', 'maintenance', 'offline'])
const Counts = z.object({ operational: z.int(), maintenance: z.int(), offline: z.int() })

const StatusList = listOf(
  z.object({ server_id: Id, hostname: z.string(), country_code: z.string(), city: z.string(), status: Status }),
).extend({ summary: Counts.extend({ total: z.int() }) })

const LoadList = listOf(z.object({ server_id: Id, hostname: z.string(), load: z.number(), status: Status })).extend({
  average_load: z.number().nullable(),
})

const LocationList = listOf(
  z.object({
    country: z.string(),
    country_code: z.string(),
    city: z.string(),
    location: z.string(),
    latitude: z.number().nullable(),
    longitude: z.number().nullable(),
    servers: Counts,
    load: z.number().meta({ description: 'mean load of the operational servers, percent' }),
  }),
)

const config = { needs: 'servers:read' }
const refused = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody }
const tags = ['analytics']

const round = (n: number): number => Math.round(n * 100) / 100
const meanLoad = (servers: readonly FleetServer[]): number | null => {
  const live = servers.filter((server) => server.view.status === 'operational')
  return live.length === 0 ? null : round(live.reduce((sum, server) => sum + server.view.load, 0) / live.length)
}
const counts = (servers: readonly FleetServer[]): z.infer<typeof Counts> => {
  const found = { operational: 0, maintenance: 0, offline: 0 }
  for (const { view } of servers) found[view.status]++
  return found
}

/** Servers of one place together, in the order of the places' names. */
function locations(servers: readonly FleetServer[]) {
  const places = Map.groupBy(servers, ({ view }) => JSON.stringify([view.country_code, view.city, view.location]))
  const rows = [...places.values()].flatMap((there) => {
    const [first] = there
    if (!first) return []
    const { country, country_code, city, location, latitude, longitude } = first.view
    const place = { country, country_code, city, location, latitude, longitude }
    return [{ ...place, servers: counts(there), load: meanLoad(there) ?? 0 }]
  })
  const name = (row: (typeof rows)[number]) => `${row.country_code} ${row.city} ${row.location}`
  return rows.toSorted((a, b) => (name(a) < name(b) ? -1 : 1))
}

type Query = z.infer<typeof PageQuery>
const part = <T>(rows: readonly T[], { page, per_page }: Query): T[] =>
  rows.slice((page - 1) * per_page, page * per_page)

/** How the fleet is, from memory; staff and customers see the same. */
export function analyticsRoutes(app: App, { fleet }: { fleet: Pick<Fleet, 'snapshot'> }): void {
  const base = { tags, querystring: PageQuery }

  app.get(
    '/api/v1/analytics/servers/status',
    { config, schema: { ...base, summary: 'Which servers are there', response: { 200: StatusList, ...refused } } },
    async (req) => {
      const all = fleet.snapshot()
      const data = part(all, req.query).map(({ view }) => ({ server_id: view.id, ...view }))
      const summary = { ...counts(all), total: all.length }
      return { ...listAnswer(req.url, req.query, all.length, data), summary }
    },
  )

  app.get(
    '/api/v1/analytics/servers/load',
    {
      config,
      schema: { ...base, summary: 'How full the servers are, fullest first', response: { 200: LoadList, ...refused } },
    },
    async (req) => {
      const all = fleet.snapshot().toSorted((a, b) => b.view.load - a.view.load)
      const data = part(all, req.query).map(({ view }) => ({ server_id: view.id, ...view }))
      return { ...listAnswer(req.url, req.query, all.length, data), average_load: meanLoad(all) }
    },
  )

  app.get(
    '/api/v1/analytics/locations',
    { config, schema: { ...base, summary: 'Where the servers are', response: { 200: LocationList, ...refused } } },
    async (req) => {
      const all = locations(fleet.snapshot())
      return listAnswer(req.url, req.query, all.length, part(all, req.query))
    },
  )
}
