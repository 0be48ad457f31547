import { createHistogram } from 'node:perf_hooks'
import { addressText, type Address } from './address/address.ts'
import type { Client } from './client.ts'
import type { Now } from './limiter/limiter.ts'

const HOUR_MS = 3_600_000
const MAX_OFFENDERS = 10_000
const MAX_NAMES = 500

type Offender = { address: Address; violations: number; last: number }

export type ViolationStats = {
  total: number
  by_rule: Record<string, number>
  by_endpoint: { endpoint: string; violations: number }[]
  top_offenders: { ip: string; violations: number; last_seconds_ago: number }[]
  overhead: { requests: number; p50_us: number; p99_us: number; max_us: number }
}

type Tally = { n: number }

function tally(counts: Map<string, Tally>, name: string): void {
  const known = counts.get(name)
  if (known) known.n++
  else if (counts.size < MAX_NAMES) counts.set(name, { n: 1 })
}

/** Real-time counters of this instance. Readable addresses are kept for an hour and in memory only. */
export class Violations {
  readonly #now: Now
  readonly #byRule = new Map<string, Tally>()
  readonly #byRoute = new Map<string, Tally>()
  readonly #offenders = new Map<string, Offender>()
  readonly #overhead = createHistogram()
  #total = 0

  constructor(now: Now) {
    this.#now = now
  }

  /** Notes a refusal. @param what the rule, or `BAN`, `GLOBAL`, `GEO`, `CLOSED`, `DDOS` */
  note(what: string, route: string, { address, countedAs: key }: Pick<Client, 'address' | 'countedAs'>): void {
    this.#total++
    tally(this.#byRule, what)
    tally(this.#byRoute, route)
    const known = this.#offenders.get(key)
    if (known) {
      known.violations++
      known.last = this.#now()
      return
    }
    if (this.#offenders.size >= MAX_OFFENDERS) {
      const oldest = this.#offenders.keys().next()
      if (!oldest.done) this.#offenders.delete(oldest.value)
    }
    this.#offenders.set(key, { address, violations: 1, last: this.#now() })
  }

  /** How long the protection of one request took, waiting for Redis included. */
  took(ms: number): void {
    this.#overhead.record(Math.max(1, Math.round(ms * 1e6)))
  }

  sweep(): void {
    const before = this.#now() - HOUR_MS
    for (const [key, offender] of this.#offenders) if (offender.last < before) this.#offenders.delete(key)
  }

  stats(top = 20): ViolationStats {
    const now = this.#now()
    const us = (ns: number): number => Math.round(ns / 100) / 10
    const { count } = this.#overhead
    return {
      total: this.#total,
      by_rule: Object.fromEntries([...this.#byRule].map(([rule, { n }]) => [rule, n])),
      by_endpoint: [...this.#byRoute]
        .map(([endpoint, { n }]) => ({ endpoint, violations: n }))
        .toSorted((a, b) => b.violations - a.violations),
      top_offenders: [...this.#offenders.values()]
        .filter(({ last }) => last >= now - HOUR_MS)
        .toSorted((a, b) => b.violations - a.violations)
        .slice(0, top)
        .map(({ address, violations, last }) => ({
          ip: addressText(address),
          violations,
          last_seconds_ago: Math.round((now - last) / 1_000),
        })),
      overhead: {
        requests: count,
        p50_us: count === 0 ? 0 : us(this.#overhead.percentile(50)),
        p99_us: count === 0 ? 0 : us(this.#overhead.percentile(99)),
        max_us: count === 0 ? 0 : us(this.#overhead.max),
      },
    }
  }
}
