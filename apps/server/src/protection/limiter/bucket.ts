import type { Limit, Standing } from './limiter.ts'

/** Before the first request. */
const NEVER = -Infinity

/**
 * What one rule remembers of one caller: the times of the requests admitted in the last window (for the bound on each
 * window), and the level of a leaking bucket (for the bound on windows in a row). A request adds `windowMs` to the level,
 * `limit` leaves it each millisecond, and it never exceeds (limit+burst)*windowMs: whole numbers all the way.
 */
export class Bucket {
  level = 0
  /** Time of the last admitted request. */
  newest = NEVER
  /** Earlier ones, oldest first from `head`; null while there is one only, as for most callers. */
  #older: number[] | null = null
  #head = 0

  /** Forgets what has left the window. */
  advance(now: number, windowMs: number): void {
    const older = this.#older
    if (!older) return
    if (this.newest <= now - windowMs) {
      this.#older = null
      this.#head = 0
      return
    }
    while (this.#head < older.length && (older[this.#head] ?? 0) <= now - windowMs) this.#head++
    if (this.#head * 2 > older.length && this.#head > 8) {
      older.splice(0, this.#head)
      this.#head = 0
    }
  }

  #count(now: number, windowMs: number): number {
    if (this.newest === NEVER || this.newest <= now - windowMs) return 0
    return 1 + (this.#older ? this.#older.length - this.#head : 0)
  }

  #stamp(i: number): number {
    return this.#older?.[this.#head + i] ?? this.newest
  }

  #levelAt(now: number, limit: number): number {
    return this.newest === NEVER ? 0 : Math.max(0, this.level - (now - this.newest) * limit)
  }

  /** Until `room` requests fit. */
  #waitFor(room: number, now: number, { limit, burst, windowMs }: Limit): number {
    const cap = limit + burst
    const mustLeave = this.#count(now, windowMs) - (cap - room)
    const byWindow = mustLeave <= 0 ? 0 : this.#stamp(mustLeave - 1) + windowMs - now
    const byLevel = Math.ceil((this.#levelAt(now, limit) - (cap - room) * windowMs) / limit)
    return Math.max(0, byWindow, byLevel)
  }

  /** @param now must not be before `newest` */
  standing(now: number, rule: Limit): Standing {
    const { limit, burst, windowMs } = rule
    const cap = limit + burst
    const byWindow = cap - this.#count(now, windowMs)
    const byLevel = Math.floor((cap * windowMs - this.#levelAt(now, limit)) / windowMs)
    const remaining = Math.max(0, Math.min(byWindow, byLevel))
    return {
      admitted: remaining > 0,
      remaining,
      resetMs: remaining >= cap ? 0 : this.#waitFor(remaining + 1, now, rule),
      retryMs: remaining > 0 ? 0 : this.#waitFor(1, now, rule),
    }
  }

  /** Cheaper than `standing` for the common question. */
  admits(now: number, { limit, burst, windowMs }: Limit): boolean {
    const cap = limit + burst
    return this.#count(now, windowMs) < cap && this.#levelAt(now, limit) + windowMs <= cap * windowMs
  }

  charge(now: number, { limit, windowMs }: Limit): void {
    this.level = this.#levelAt(now, limit) + windowMs
    if (this.newest !== NEVER && this.newest > now - windowMs) (this.#older ??= []).push(this.newest)
    this.newest = now
  }

  /** Takes the newest charge back: from now on all is as if it had not been. */
  refund({ limit, windowMs }: Limit): void {
    if (this.newest === NEVER) return
    const before = this.#older && this.#older.length > this.#head ? this.#older.pop() : undefined
    // What is left is the level at this charge's time; it is written as of an earlier time, with what leaks in between.
    const since = before ?? this.newest - windowMs
    this.level = Math.max(0, this.level - windowMs) + (this.newest - since) * limit
    this.newest = since
  }

  /** True when nothing of it matters any more. */
  spent(now: number, { limit, windowMs }: Limit): boolean {
    return this.newest <= now - windowMs && this.#levelAt(now, limit) === 0
  }
}
