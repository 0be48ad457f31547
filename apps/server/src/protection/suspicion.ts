import type { Log } from '../platform/log.ts'
import type { FailedAttempt } from '../platform/attempts.ts'
import { networkOf, type Network } from './address/address.ts'
import type { Client } from './client.ts'
import type { ProtectionConfig } from './config.ts'
import type { ShutUntil } from './counters.ts'
import type { Fleet } from './fleet-addresses.ts'
import type { Id } from './keys.ts'
import type { Limiter, Wish } from './limiter/limiter.ts'

/** How long sign-in stays shut for a fleet address after too many failed attempts from there. */
const CLOSED_S = 300
const PROXY_WARNING_EVERY_MS = 60_000

type Deps = {
  config: Pick<ProtectionConfig, 'ddosEnabled' | 'suspicious' | 'ddos'>
  limiter: Limiter
  fleet: Fleet
  /** Ids of addresses for which sign-in, reset and device codes are shut. */
  closed: ShutUntil
  /** Callers known to be over a limit. */
  exhausted: ShutUntil
  /** Bans at once. @returns when it has been written, or could not be yet: then its length is known */
  ban: (network: Network, reason: string, seconds: number) => Promise<void>
  /** Tells the other instances that sign-in is shut for an address. */
  tellClosed: (id: string, forMs: number) => void
  isTrusted: (client: Client) => boolean
  log: Log
  now: () => number
}

/** How long everybody behind an unknown proxy is refused instead of a ban. */
export const PAUSE_MS = 60_000
export const pauseKey = (client: Client): string => `pause:${client.ids.address.id}`

/** The block that a ban of this caller covers. */
const blockOf = ({ address }: Client): Network => networkOf(address, address.family === 4 ? 32 : 64)

/** Failed attempts and floods: counts them by address, and bans or shuts when there are too many. */
export class Suspicion {
  readonly #deps: Deps
  #warnedAt = -Infinity
  #sawForwarder = false
  readonly counted = new Map<FailedAttempt, number>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** True once a private peer sent `X-Forwarded-For` without being in `TRUSTED_PROXIES`: told in the stats. */
  get sawUnknownProxy(): boolean {
    return this.#sawForwarder
  }

  noteForwarder(): void {
    this.#sawForwarder = true
  }

  /** What the failed attempts of an address are counted by. */
  attemptsOf(id: Id): Wish {
    const { threshold, windowSeconds } = this.#deps.config.suspicious
    return { ...id, rule: 'ATTEMPTS', limit: { limit: threshold, burst: 0, windowMs: windowSeconds * 1_000 } }
  }

  /** Counts a failed attempt; the ban follows as soon as the count is known. */
  failed(client: Client, kind: FailedAttempt): void {
    this.counted.set(kind, (this.counted.get(kind) ?? 0) + 1)
    const { config, limiter } = this.#deps
    if (!config.ddosEnabled || client.listed) return
    const judged = async () => {
      const [standing] = await limiter.take([this.attemptsOf(client.ids.address)])
      if (standing && standing.remaining === 0) this.#tooMany(client)
    }
    judged().catch((err: unknown) => this.#deps.log.warn({ err }, 'a failed attempt was not counted'))
  }

  #tooMany(client: Client): void {
    const { fleet, closed, exhausted, tellClosed, config } = this.#deps
    if (fleet.has(client.address)) {
      const { id } = client.ids.address
      closed.shut(id, CLOSED_S * 1_000)
      tellClosed(id, CLOSED_S * 1_000)
      return
    }
    void this.banOrSpare(client, 'failed attempts', config.suspicious.banSeconds)
    // Behind a proxy that nobody configured there is a pause instead.
    if (client.looksLikeProxy) exhausted.shut(pauseKey(client), PAUSE_MS)
  }

  /** Bans the caller, unless that would shut out everybody behind a proxy. @returns as `ban`; null when it was spared */
  banOrSpare(client: Client, reason: string, seconds: number): Promise<void> | null {
    const { isTrusted, ban, fleet, limiter, log, now } = this.#deps
    if (isTrusted(client) || fleet.has(client.address)) return null
    if (client.looksLikeProxy) {
      if (now() - this.#warnedAt >= PROXY_WARNING_EVERY_MS) {
        this.#warnedAt = now()
        log.warn('a private address forwards for others but is not in TRUSTED_PROXIES: all of them count as one caller')
      }
      return null
    }
    // Paid for by the ban: once that is over, or lifted, one more attempt is one.
    const forgotten = async () => limiter.reset([this.attemptsOf(client.ids.address)])
    forgotten().catch((err: unknown) => log.warn({ err }, 'attempts were not forgotten'))
    return ban(blockOf(client), reason, seconds)
  }
}
