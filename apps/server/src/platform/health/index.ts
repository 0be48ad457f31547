import { z } from 'zod'
import type { Sql } from '../db/index.ts'
import { Unavailable } from '../errors.ts'
import type { App } from '../http/index.ts'
import type { Kv } from '../kv/index.ts'

const PROBE_TIMEOUT_MS = 2_000

/** True when the database answers within two seconds. */
export async function databaseAnswers(sql: Sql): Promise<boolean> {
  const late = new Promise<false>((resolve) => setTimeout(resolve, PROBE_TIMEOUT_MS, false).unref())
  const answer = sql`select 1`.then(
    () => true,
    () => false,
  )
  return Promise.race([answer, late])
}

export type HealthDeps = { sql: Sql; kv: Kv; stopping: () => boolean }

/**
 * `/health`: degraded when something is lost that we can do without. `/health/live`: the process answers.
 * `/health/ready`: send traffic here, or not.
 */
export function healthRoutes(app: App, { sql, kv, stopping }: HealthDeps): void {
  const config = { needs: 'public', rule: 'HEALTH' }
  const schema = { hide: true, response: { 200: z.object({ status: z.enum(['ok', 'degraded']) }) } }
  app.get('/health', { config, schema }, async () => {
    const whole = kv.healthy() && (await databaseAnswers(sql))
    return { status: whole ? ('ok' as const) : ('degraded' as const) }
  })
  app.get('/health/live', { config, schema }, async () => ({ status: 'ok' as const }))
  app.get('/health/ready', { config, schema }, async () => {
    if (stopping()) throw new Unavailable('The service is stopping.')
    if (!(await databaseAnswers(sql))) throw new Unavailable('The database does not answer.')
    return { status: 'ok' as const }
  })
}
