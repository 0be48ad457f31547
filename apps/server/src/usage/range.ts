import { z } from 'zod'
import { invalidField } from '../platform/errors.ts'

const DAY_MS = 86_400_000
const DEFAULT_DAYS = 30
const MAX_DAYS = 366

const moment = z
  .union([z.iso.datetime({ offset: true }), z.iso.date()], { error: 'must be a date or an RFC 3339 time' })
  .transform((text) => new Date(text))

/** `?from=&to=` of the analytics: dates or times; whole UTC days count. */
export const RangeQuery = { from: moment.optional(), to: moment.optional() }

/**
 * The range asked for; without `to` until now, without `from` the 30 days before `to`.
 * @throws {InvalidInput} empty, reversed, or longer than 366 days
 */
export function rangeOf(
  query: { from?: Date | undefined; to?: Date | undefined },
  nowMs: number,
): { from: Date; to: Date } {
  const to = query.to ?? new Date(nowMs)
  const from = query.from ?? new Date(to.getTime() - DEFAULT_DAYS * DAY_MS)
  const length = to.getTime() - from.getTime()
  if (length <= 0) throw invalidField('from', 'must be before to')
  if (length > MAX_DAYS * DAY_MS) throw invalidField('from', `must be at most ${MAX_DAYS} days before to`)
  return { from, to }
}

/** The last `days` days until now. */
export const lastDays = (days: number, nowMs: number): { from: Date; to: Date } => ({
  from: new Date(nowMs - days * DAY_MS),
  to: new Date(nowMs),
})
