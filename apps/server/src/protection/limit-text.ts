import type { Limit } from './limiter/limiter.ts'

const UNIT_MS = { s: 1_000, m: 60_000, min: 60_000, h: 3_600_000 } as const
const TEXT = /^(\d{1,9})\s*\/\s*(\d{1,6})\s*(s|m|min|h)\s*(?:\+\s*(\d{1,9}))?$/

/** A key remembers L+B times: 6 bytes each in Redis. */
const MAX_REMEMBERED = 10_000
const MAX_WINDOW_MS = 24 * 3_600_000

/**
 * Reads `5/300s+2`: 5 requests in 300 seconds, and a burst of 2. Units: s, m (or min), h. A bare number keeps window and
 * burst of `fallback`, as older set-ups write `IP_RATE_LIMIT=100`.
 * @returns the limit, or what is wrong with the text
 */
export function parseLimit(text: string, fallback: Limit): Limit | string {
  if (/^\d{1,9}$/.test(text.trim())) return checked({ ...fallback, limit: Number(text) })
  const [, limit, window, unit, burst] = TEXT.exec(text.trim()) ?? []
  if (limit === undefined || window === undefined || unit === undefined)
    return 'must be requests/window+burst, such as 5/300s+2'
  const windowMs = Number(window) * UNIT_MS[unit as keyof typeof UNIT_MS]
  return checked({ limit: Number(limit), burst: Number(burst ?? 0), windowMs })
}

function checked(limit: Limit): Limit | string {
  if (limit.limit < 1) return 'must admit at least one request in a window'
  if (limit.windowMs < 1_000 || limit.windowMs > MAX_WINDOW_MS) return 'must have a window of 1 s to 24 h'
  if (limit.limit + limit.burst > MAX_REMEMBERED)
    return `must admit at most ${MAX_REMEMBERED} requests in a window (each caller's are remembered)`
  if (limit.burst > limit.limit * 10) return 'has a burst of more than ten times its limit'
  return limit
}

/** The text `parseLimit` reads. */
export const limitText = ({ limit, burst, windowMs }: Limit): string =>
  `${limit}/${windowMs / 1000}s${burst > 0 ? `+${burst}` : ''}`
