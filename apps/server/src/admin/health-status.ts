import { createRequire } from 'node:module'
import { z } from 'zod'
import type { Fleet } from '../fleet/index.ts'
import { one, type Sql } from '../platform/db/index.ts'
import { ErrorBody, type App } from '../platform/http/index.ts'
import type { Kv } from '../platform/kv/index.ts'

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }

const HealthStatus = z.object({
  status: z.enum(['ok', 'degraded']),
  database: z.object({ ok: z.boolean(), ms: z.number().nullable(), version: z.string().nullable() }),
  redis: z.object({ configured: z.boolean(), ok: z.boolean() }),
  nodes: z.object({ enrolled: z.int(), linked: z.int() }),
  versions: z.object({ prime: z.string(), node: z.string() }),
})

export type HealthStatusDeps = { sql: Sql; kv: Kv; redisConfigured: boolean; fleet: Pick<Fleet, 'snapshot'> }

/** The database's version and how long it took to tell, or that it did not. */
async function databaseStatus(sql: Sql): Promise<z.infer<typeof HealthStatus>['database']> {
  const began = performance.now()
  try {
    const { server_version } = await one(sql<{ server_version: string }[]>`show server_version`)
    return { ok: true, ms: Math.round((performance.now() - began) * 10) / 10, version: server_version }
  } catch {
    return { ok: false, ms: null, version: null }
  }
}

/** `GET /health/status`: what `/health` sums up, in detail and for staff only. */
export function healthStatusRoutes(app: App, { sql, kv, redisConfigured, fleet }: HealthStatusDeps): void {
  app.get(
    '/health/status',
    {
      config: { needs: 'dashboard:read', rule: 'HEALTH' },
      schema: { hide: true, response: { 200: HealthStatus, 401: ErrorBody, 403: ErrorBody } },
    },
    async () => {
      const database = await databaseStatus(sql)
      const servers = fleet.snapshot()
      const status = database.ok && kv.healthy() ? ('ok' as const) : ('degraded' as const)
      return {
        status,
        database,
        redis: { configured: redisConfigured, ok: redisConfigured && kv.healthy() },
        nodes: { enrolled: servers.length, linked: servers.filter((server) => server.linked).length },
        versions: { prime: version, node: process.version },
      }
    },
  )
}
