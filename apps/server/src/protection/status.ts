import { addressText, networkText, type Address } from './address/address.ts'
import { bannedMs } from './bans/bans.ts'
import type { Wish } from './limiter/limiter.ts'
import { seconds } from './refusals.ts'
import { isSignIn, KEYS_OF, PREFIX_FACTOR, type RuleName } from './rules.ts'
import type { State } from './state.ts'
import { addressFactor } from './wishes.ts'

type Scoped = { rule: RuleName; scope: 'address' | 'network'; wish: Wish }

/** What an address is counted under while nobody signs in: each rule with an address key, sign-in also for the IPv6 /48. */
export function wishesAt(state: State, address: Address, rules: readonly RuleName[]): Scoped[] {
  const { ids, table, fleet, adaptive } = state
  const [isFleet, load] = [fleet.has(address), adaptive.factor('anonymous')]
  const own = ids.ofAddress(address)
  const prefix = address.family === 6 ? ids.ofPrefix(address) : null
  return rules.flatMap((rule): Scoped[] => {
    if (!KEYS_OF[rule].includes('address') || rule === 'AUTH_ACCOUNT_NETWORK') return []
    const factor = addressFactor(rule, isFleet, load)
    const found: Scoped[] = [{ rule, scope: 'address', wish: { ...own, rule, limit: table.at(rule, factor) } }]
    if (prefix && isSignIn(rule))
      found.push({ rule, scope: 'network', wish: { ...prefix, rule, limit: table.at(rule, factor * PREFIX_FACTOR) } })
    return found
  })
}

const wait = (ms: number): number => (ms === 0 ? 0 : seconds(ms))

/** How each rule stands for an address, without counting anything. */
export async function standingsOf(state: State, address: Address, rules: readonly RuleName[]) {
  const scoped = wishesAt(state, address, rules)
  const standings = await state.limiter.peek(scoped.map(({ wish }) => wish))
  const { bans, fleet, clients } = state
  const listed = clients.isListed(address)
  const left = bannedMs({ listed, address }, bans, fleet)
  const block = left > 0 ? bans.blockOf(address, fleet.has(address)) : undefined
  return {
    ip: addressText(address),
    banned: left > 0,
    ban_seconds_left: wait(left),
    banned_block: block ? networkText(block) : null,
    listed,
    rules: scoped.map(({ rule, scope, wish: { limit } }, i) => {
      const { remaining = 0, resetMs = 0, retryMs = 0 } = standings[i] ?? {}
      const all = limit.limit + limit.burst
      return {
        rule,
        endpoint: rule.toLowerCase(),
        scope,
        limit: all,
        window_seconds: limit.windowMs / 1_000,
        used: all - remaining,
        remaining,
        reset_seconds: wait(resetMs),
        retry_after: wait(retryMs),
      }
    }),
  }
}
