import type { Now } from './limiter/limiter.ts'

const MINUTE_MS = 60_000

class Minute {
  start: number
  count = 0
  before = 0
  constructor(start: number) {
    this.start = start
  }
}

/**
 * Requests of the last minute by caller, those that were refused included. Cheap rather than precise: exact within the
 * first minute of a caller, afterwards the minute before counts by the share of it that is still in the window.
 */
export class MinuteCounters {
  readonly #now: Now
  readonly #max: number
  readonly #minutes = new Map<string, Minute>()

  constructor(now: Now, max = 1_000_000) {
    this.#now = now
    this.#max = max
  }

  get size(): number {
    return this.#minutes.size
  }

  /** Counts one. @returns how many there were in the last minute, with this one */
  count(id: string): number {
    const now = this.#now()
    let minute = this.#minutes.get(id)
    if (!minute) {
      if (this.#minutes.size >= this.#max) {
        const oldest = this.#minutes.keys().next()
        if (!oldest.done) this.#minutes.delete(oldest.value)
      }
      this.#minutes.set(id, (minute = new Minute(now)))
    }
    const passed = Math.floor((now - minute.start) / MINUTE_MS)
    if (passed > 0) {
      minute.before = passed === 1 ? minute.count : 0
      minute.count = 0
      minute.start += passed * MINUTE_MS
    }
    minute.count++
    const left = 1 - (now - minute.start) / MINUTE_MS
    return minute.count + Math.floor(minute.before * left)
  }

  /** Milliseconds after which a caller who stays quiet is at zero. */
  quietMs(id: string): number {
    const minute = this.#minutes.get(id)
    return minute ? Math.max(0, minute.start + 2 * MINUTE_MS - this.#now()) : 0
  }

  forget(id: string): void {
    this.#minutes.delete(id)
  }

  /** Drops callers who were quiet for two minutes. */
  sweep(): void {
    const now = this.#now()
    for (const [id, minute] of this.#minutes) if (now - minute.start > 2 * MINUTE_MS) this.#minutes.delete(id)
  }
}

/** How many there were in the last 60 seconds, in slots of a second: ours, and what other instances tell. */
export class GlobalGauge {
  readonly #now: Now
  readonly #slots = new Float64Array(60)
  #second: number
  #sum = 0
  #untold = 0

  constructor(now: Now) {
    this.#now = now
    this.#second = Math.floor(now() / 1_000)
  }

  #advance(): void {
    const second = Math.floor(this.#now() / 1_000)
    const steps = Math.min(60, second - this.#second)
    for (let i = 1; i <= steps; i++) {
      const slot = (this.#second + i) % 60
      this.#sum -= this.#slots[slot] ?? 0
      this.#slots[slot] = 0
    }
    this.#second = second
  }

  #add(n: number): void {
    this.#advance()
    const slot = this.#second % 60
    this.#slots[slot] = (this.#slots[slot] ?? 0) + n
    this.#sum += n
  }

  /** Counts one of ours. @returns the sum over the last minute and all instances */
  count(): number {
    this.#add(1)
    this.#untold++
    return this.#sum
  }

  hear(n: number): void {
    this.#add(n)
  }

  /** What other instances have not been told yet. */
  takeUntold(): number {
    const untold = this.#untold
    this.#untold = 0
    return untold
  }

  get sum(): number {
    this.#advance()
    return this.#sum
  }
}

/** Remembers until when something is shut; forgets the oldest above `max`. */
export class ShutUntil {
  readonly #now: Now
  readonly #max: number
  readonly #until = new Map<string, number>()

  constructor(now: Now, max = 200_000) {
    this.#now = now
    this.#max = max
  }

  get size(): number {
    return this.#until.size
  }

  shut(key: string, forMs: number): void {
    if (this.#until.size >= this.#max) {
      const oldest = this.#until.keys().next()
      if (!oldest.done) this.#until.delete(oldest.value)
    }
    this.#until.set(key, this.#now() + forMs)
  }

  /** Milliseconds left, 0 when open. */
  left(key: string): number {
    const until = this.#until.get(key)
    if (until === undefined) return 0
    const left = until - this.#now()
    if (left > 0) return left
    this.#until.delete(key)
    return 0
  }

  forget(key: string): void {
    this.#until.delete(key)
  }

  clear(): void {
    this.#until.clear()
  }

  sweep(): void {
    for (const key of this.#until.keys()) this.left(key)
  }
}
