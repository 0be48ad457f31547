import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Sql } from '../../platform/db/index.ts'
import type { Pressure } from './adaptive.ts'

const EVERY_MS = 1_000
const RESOLUTION_MS = 10
/** A database that does not answer in this time counts as this slow. */
const GIVE_UP_MS = 900

/** How long a trivial query takes, queueing for a connection included; that is what a request would wait as well. */
async function databaseMs(sql: Sql): Promise<number> {
  const began = performance.now()
  const late = new Promise<void>((resolve) => setTimeout(resolve, GIVE_UP_MS).unref())
  const answered = sql`select 1`.then(
    () => undefined,
    () => undefined,
  )
  await Promise.race([answered, late])
  return performance.now() - began
}

/** Looks once a second at the event loop and the database. @returns ends it */
export function watchPressure(sql: Sql, tell: (pressure: Pressure) => void): () => void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delay.enable()
  let asking = false
  const look = async (loopDelayMs: number) => {
    const ms = await databaseMs(sql)
    asking = false
    tell({ loopDelayMs, databaseMs: ms })
  }
  const timer = setInterval(() => {
    const loopDelayMs = Math.max(0, delay.percentile(99) / 1e6 - RESOLUTION_MS)
    delay.reset()
    if (asking) return
    asking = true
    void look(loopDelayMs)
  }, EVERY_MS)
  timer.unref()
  return () => {
    clearInterval(timer)
    delay.disable()
  }
}
