import type { Price } from './types.ts'

export const HOUR = 3_600
export const DAY = 24 * HOUR

function addMonths(from: number, months: number): number {
  const date = new Date(from * 1000)
  const day = date.getUTCDate()
  date.setUTCDate(1)
  date.setUTCMonth(date.getUTCMonth() + months)
  const last = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 0)).getUTCDate()
  date.setUTCDate(Math.min(day, last))
  return Math.floor(date.getTime() / 1000)
}

/** The end of the period that starts at `from` (seconds); a day that the month does not have is its last one. */
export function periodEnd(from: number, { interval, interval_count }: Price['recurring']): number {
  switch (interval) {
    case 'day':
      return from + interval_count * DAY
    case 'week':
      return from + interval_count * 7 * DAY
    case 'month':
      return addMonths(from, interval_count)
    case 'year':
      return addMonths(from, interval_count * 12)
  }
}
