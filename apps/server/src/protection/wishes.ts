import type { Limit, Standing, Wish } from './limiter/limiter.ts'
import type { CallerIds, Id } from './keys.ts'
import type { Client } from './client.ts'
import {
  FLEET_ANONYMOUS_FACTOR,
  FLEET_SIGN_IN_FACTOR,
  isSignIn,
  PREFIX_FACTOR,
  scaled,
  type RouteKind,
  type RuleName,
} from './rules.ts'

/** What decides which rules a request is judged by. */
export type Circumstances = {
  /** The route's rule, or what it is instead. */
  rule: RuleName | RouteKind
  /** Whether the route takes callers who are not signed in: there an identity is no way around the address. */
  isPublic: boolean
  client: Client
  /** From a fleet address, which many customers share. */
  fleet: boolean
  /** Of a token whose signature holds. */
  userId: string | null
  /** Accounts named in the body, where the rule counts those. */
  accounts: readonly string[]
  /** How much of each limit is in force. */
  factor: number
}

/** The limits in force, computed once for each factor. */
export class LimitTable {
  readonly #limits: Readonly<Record<RuleName, Limit>>
  readonly #scaled = new Map<number, Partial<Record<RuleName, Limit>>>()
  constructor(limits: Readonly<Record<RuleName, Limit>>) {
    this.#limits = limits
  }
  at(rule: RuleName, factor = 1): Limit {
    if (factor === 1) return this.#limits[rule]
    let row = this.#scaled.get(factor)
    if (!row) this.#scaled.set(factor, (row = {}))
    return (row[rule] ??= scaled(this.#limits[rule], factor))
  }
}

/** Rules that overload shrinks; a sign-in or a payment is never what overloads, and its limits are small already. */
export const shrinks = (rule: RuleName | RouteKind): boolean => !rule.startsWith('AUTH_') && rule !== 'PAYMENTS'

/** How wide a rule is for an address that nobody signed in from. @param load how much of each limit is in force */
export const addressFactor = (rule: RuleName, fleet: boolean, load: number): number =>
  isSignIn(rule)
    ? fleet
      ? FLEET_SIGN_IN_FACTOR
      : 1
    : (fleet ? FLEET_ANONYMOUS_FACTOR : 1) * (shrinks(rule) ? load : 1)

/** All rules of a request, each with the caller it counts. At most five. */
export function wishesOf(at: Circumstances, table: LimitTable, ids: CallerIds): Wish[] {
  const { rule, client, fleet, userId } = at
  const wishes: Wish[] = []
  const add = (name: RuleName, id: Id, factor: number) =>
    wishes.push({ ...id, rule: name, limit: table.at(name, factor) })
  // A user's or an account's: the same from everywhere.
  const personal = shrinks(at.rule) ? at.factor : 1

  if (!client.listed && !(fleet && userId !== null))
    add('IP', client.ids.address, addressFactor('IP', fleet, at.factor))
  if (rule === 'STATIC' || rule === 'WEBHOOK' || rule === 'NODE_LINK') return wishes

  const own = rule === 'HEALTH' ? 'API' : rule
  if (isSignIn(own)) {
    if (userId !== null && !at.isPublic) {
      add(own, ids.of('user', userId), personal)
      return wishes
    }
    if (!client.listed) {
      add(own, client.ids.address, addressFactor(own, fleet, 1))
      if (client.ids.prefix) add(own, client.ids.prefix, addressFactor(own, fleet, 1) * PREFIX_FACTOR)
    }
    for (const account of at.accounts) {
      if (own === 'AUTH_PASSWORD_RESET') add(own, ids.ofAccount(account), personal)
      // Where the address counts by the same limit, one account at that address can never be over it first.
      else if (client.listed || fleet) add(own, ids.ofAccountAt(account, client.address), personal)
    }
  } else if (userId !== null) {
    add(own, ids.of('user', userId), personal)
  } else if (!client.listed) {
    // A user's rule without a user: the call will be refused, and until then it counts like any anonymous one.
    add('API', client.ids.address, addressFactor('API', fleet, at.factor))
  }
  return wishes
}

/** With the limit, since one caller may be judged by several: under load an anonymous request by less than a customer's. */
export const exhaustedKey = ({ rule, id, limit }: Wish): string => `${rule}:${id}:${limit.limit + limit.burst}`

/** The rule that the headers tell of: where it was refused the longest wait, else the fewest requests left. */
export function tightest(standings: readonly Standing[]): number {
  let best = 0
  for (let i = 1; i < standings.length; i++) {
    const [one, other] = [standings[i], standings[best]]
    if (!one || !other) continue
    if (
      one.admitted !== other.admitted
        ? !one.admitted
        : one.admitted
          ? one.remaining < other.remaining
          : one.retryMs > other.retryMs
    )
      best = i
  }
  return best
}
