import type { Sql } from '../platform/db/index.ts'
import type { Jobs, Schedule } from '../platform/jobs.ts'
import { forgetPage, settlePage } from './daily-store.ts'

/** How long a connection of its own is kept (house plan, privacy). */
export const RETENTION_DAYS = 30
const PAGE = 2_000

/** Brings the days up to date. Safe to run twice and beside itself. */
export async function settleDays(db: Sql): Promise<void> {
  let last: string | undefined
  do last = await settlePage(db, last, PAGE)
  while (last !== undefined)
}

/** Forgets connections that are older than the retention; what they carried stays in the days. */
export async function forgetConnections(db: Sql, retentionDays = RETENTION_DAYS): Promise<void> {
  await settleDays(db)
  while ((await forgetPage(db, retentionDays, PAGE)) > 0);
}

export const usageJobs = (db: Sql): Jobs => ({
  'usage.settle': () => settleDays(db),
  'usage.forget': () => forgetConnections(db),
})

export const usageSchedule: Schedule[] = [
  { cron: '0 * * * *', job: 'usage.settle' },
  { cron: '20 3 * * *', job: 'usage.forget' },
]
