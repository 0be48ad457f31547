import type { Log } from '../platform/log.ts'
import type { Adaptive } from './adaptive/adaptive.ts'
import type { Bans } from './bans/bans.ts'
import type { Clients } from './client.ts'
import type { ProtectionConfig } from './config.ts'
import type { GlobalGauge, MinuteCounters, ShutUntil } from './counters.ts'
import type { Fleet } from './fleet-addresses.ts'
import type { Countries } from './geo.ts'
import type { Identify } from './identity.ts'
import type { CallerIds } from './keys.ts'
import type { Limiter, Now } from './limiter/limiter.ts'
import type { Suspicion } from './suspicion.ts'
import type { Violations } from './violations.ts'
import type { LimitTable } from './wishes.ts'

/** What the parts of the protection share; built once by `createProtection`. */
export type State = {
  config: ProtectionConfig
  log: Log
  now: Now
  clients: Clients
  ids: CallerIds
  limiter: Limiter
  table: LimitTable
  bans: Bans
  adaptive: Adaptive
  fleet: Fleet
  countries: Countries
  suspicion: Suspicion
  violations: Violations
  identify: Identify
  /** Origins whose pages may call us from other sites. */
  allowedOrigins: ReadonlySet<string>
  /** Requests of each address in the last minute, refused ones included; for bans and the global rule. */
  perAddress: MinuteCounters
  /** Anonymous ones of each IPv6 /48; for the global rule. */
  perPrefix: MinuteCounters
  /** Openings of a node's link by banned callers. */
  links: MinuteCounters
  global: GlobalGauge
  /** `rule:id` of callers known to be over their limit. */
  exhausted: ShutUntil
  /** Ids of fleet addresses from which sign-in is shut after too many failed attempts. */
  closed: ShutUntil
}
