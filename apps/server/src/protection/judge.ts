import type { IncomingMessage } from 'node:http'
import { Forbidden } from '../platform/errors.ts'
import { isPreflight } from '../platform/http/index.ts'
import type { Client } from './client.ts'
import type { Identity } from './identity.ts'
import type { Standing, Wish } from './limiter/limiter.ts'
import { bannedMs } from './bans/bans.ts'
import { ipBanned, rateLimited, seconds } from './refusals.ts'
import { FLEET_ANONYMOUS_FACTOR, type RouteKind, type RuleName } from './rules.ts'
import type { State } from './state.ts'
import { PAUSE_MS, pauseKey } from './suspicion.ts'
import type { TierOf } from './tiers.ts'
import { toldHeaders } from './told.ts'
import { exhaustedKey, tightest, wishesOf, type Circumstances } from './wishes.ts'

/** A request as the judge sees it, over HTTP or for a socket. */
export type Call = {
  raw: IncomingMessage
  rule: RuleName | RouteKind
  isPublic: boolean
  /** The route's pattern for the counters, never a path. */
  route: string
  isUnknownRoute: boolean
  /** Country rules do not hold for it. */
  anywhere?: boolean
  /** Reads the body and tells the accounts it names; null where none count. */
  accounts: (() => Promise<readonly string[]>) | null
}

/** What to tell in the headers; null where nothing is counted. */
export type Told = Record<string, string> | null

/** Above the global limit an address that keeps to so many requests a minute still passes. */
const GLOBAL_EXEMPT = 10

/** Openings of a node's link that an address (IPv6: the /64) may try in a minute under a ban or pause; a node tries fewer. */
const SPARED_LINKS_A_MINUTE = 20

const isUser = (identity: Identity): identity is { userId: string } => identity !== null && typeof identity === 'object'

/** Judges requests in the order of api.md, section 7. */
export class Judge {
  readonly #state: State
  readonly #tierOf: TierOf

  constructor(state: State, tierOf: TierOf) {
    this.#state = state
    this.#tierOf = tierOf
  }

  #refuse(call: Call, client: Client, what: string, error: Error): never {
    this.#state.violations.note(what, call.route, client)
    throw error
  }

  /** A node's neighbour must not cut its link: its proof decides. Strangers there get few tries at it. */
  #sparesLink(call: Call, client: Client): boolean {
    return call.rule === 'NODE_LINK' && this.#state.links.count(client.ids.address.id) <= SPARED_LINKS_A_MINUTE
  }

  /** @throws 429 IP_BANNED. Memory only. */
  assertNotBanned(call: Call, client: Client): void {
    const { bans, fleet } = this.#state
    let left = bannedMs(client, bans, fleet)
    if (left > 0 && this.#sparesLink(call, client)) left = bans.leftByStaffMs(client.address)
    if (left > 0) this.#refuse(call, client, 'BAN', ipBanned(seconds(left)))
  }

  /**
   * A page of another site makes a visitor's browser call us: refused without counting against the visitor, who may know
   * nothing of it. Going to our page is no such call; a frame of ours in another page, or fetching ahead, is.
   */
  #assertSameSite(call: Call, client: Client): void {
    const { headers } = call.raw
    if (headers['sec-fetch-site'] !== 'cross-site') return
    const isNavigation =
      headers['sec-fetch-mode'] === 'navigate' && (headers['sec-fetch-dest'] ?? 'document') === 'document'
    // A page may have any number of addresses fetched ahead; no person went there.
    if (isNavigation && headers['sec-purpose'] === undefined) return
    if (headers.origin !== undefined && this.#state.allowedOrigins.has(headers.origin)) return
    this.#refuse(call, client, 'CROSS_SITE', new Forbidden('This origin may not call the API.'))
  }

  #assertCountry(call: Call, client: Client): void {
    const { countries, clients, fleet } = this.#state
    if (!countries.active || client.listed || call.rule === 'HEALTH' || call.anywhere) return
    if (countries.permits(client.address) || clients.isPrivate(client.address) || fleet.has(client.address)) return
    this.#refuse(call, client, 'GEO', new Forbidden('The service is not available from here.'))
  }

  /** @returns requests of this address in the last minute, this one included; or its refusal, once it is banned */
  #assertNoFlood(call: Call, client: Client): number | Promise<never> {
    const { config, exhausted, perAddress, suspicion } = this.#state
    const { id } = client.ids.address
    const count = perAddress.count(id)
    if (!config.ddosEnabled || client.listed) return count
    const pause = client.looksLikeProxy ? exhausted.left(pauseKey(client)) : 0
    if (pause > 0 && this.#sparesLink(call, client)) return count
    if (pause > 0) this.#refuse(call, client, 'DDOS', rateLimited(seconds(pause)))
    if (count < config.ddos.perMinute) return count
    const banned = suspicion.banOrSpare(client, 'too many requests', config.ddos.banSeconds)
    if (banned) {
      perAddress.forget(id)
      return this.#refuseBanned(call, client, banned)
    }
    if (client.looksLikeProxy) {
      exhausted.shut(pauseKey(client), PAUSE_MS)
      perAddress.forget(id)
      this.#refuse(call, client, 'DDOS', rateLimited(seconds(PAUSE_MS)))
    }
    return count
  }

  /** How long a ban is depends on those before it, which the database knows: the one who is banned waits for that. */
  async #refuseBanned(call: Call, client: Client, written: Promise<void>): Promise<never> {
    await written
    const left = this.#state.bans.leftMs(client.address)
    return this.#refuse(call, client, 'DDOS', ipBanned(seconds(left)))
  }

  #assertSignInOpen(call: Call, client: Client): void {
    if (!call.isPublic || (call.rule !== 'AUTH_LOGIN' && call.rule !== 'AUTH_PASSWORD_RESET')) return
    const left = this.#state.closed.left(client.ids.address.id)
    if (left > 0) this.#refuse(call, client, 'CLOSED', rateLimited(seconds(left)))
  }

  #assertGlobal(call: Call, client: Client, fleet: boolean, ofAddress: number): void {
    if (call.rule === 'HEALTH' || call.rule === 'STATIC' || this.#isAllowedPreflight(call.raw)) return
    const { global, perPrefix, perAddress, config, adaptive } = this.#state
    const { prefix, address } = client.ids
    const own = prefix ? perPrefix.count(prefix.id) : ofAddress
    const all = global.count()
    if (client.listed || all <= config.globalPerMinute * adaptive.factor('anonymous')) return
    if (own <= GLOBAL_EXEMPT * (fleet ? FLEET_ANONYMOUS_FACTOR : 1)) return
    const quietMs = prefix ? perPrefix.quietMs(prefix.id) : perAddress.quietMs(address.id)
    this.#refuse(call, client, 'GLOBAL', rateLimited(seconds(quietMs)))
  }

  #isAllowedPreflight(req: IncomingMessage): boolean {
    return isPreflight(req) && this.#state.allowedOrigins.has(req.headers.origin ?? '')
  }

  #refuseStanding(call: Call, client: Client, wish: Wish, standing: Standing): never {
    const told = toldHeaders(wish.rule, wish.limit, standing)
    this.#refuse(call, client, wish.rule, rateLimited(seconds(standing.retryMs), told))
  }

  /**
   * Who is known to be over a limit is refused from memory: refusals change nothing, so the answer is the same. Of several
   * the longest wait is told, since an earlier try would be refused again.
   */
  #assertNotExhausted(call: Call, client: Client, wishes: readonly Wish[]): void {
    const { exhausted } = this.#state
    if (exhausted.size === 0) return
    let longest: Wish | undefined
    let retryMs = 0
    for (const wish of wishes) {
      const left = exhausted.left(exhaustedKey(wish))
      if (left > retryMs) [longest, retryMs] = [wish, left]
    }
    if (longest)
      this.#refuseStanding(call, client, longest, { admitted: false, remaining: 0, resetMs: retryMs, retryMs })
  }

  /** Bans, floods and other things that no limit counts: memory only. */
  assertWelcome(call: Call): Client {
    const client = this.#state.clients.of(call.raw)
    if (client.looksLikeProxy) this.#state.suspicion.noteForwarder()
    this.assertNotBanned(call, client)
    return client
  }

  /** What holds for the opening of a node's link: no limit, but who floods is banned. @throws as `judge` */
  async judgeLink(call: Call): Promise<Told> {
    const client = this.assertWelcome(call)
    this.#assertSameSite(call, client)
    await this.#assertNoFlood(call, client)
    return null
  }

  /**
   * Without a wait where nothing is waited for: in-process and with an identity that is known at once.
   * @throws 429, or 403 for a country or another site's page; also as a rejection
   */
  judge(call: Call): Told | Promise<Told> {
    const client = this.assertWelcome(call)
    this.#assertSameSite(call, client)
    const ofAddress = this.#assertNoFlood(call, client)
    if (typeof ofAddress !== 'number') return ofAddress
    this.#assertCountry(call, client)
    this.#assertSignInOpen(call, client)
    const fleet = this.#state.fleet.has(client.address)
    if (this.#state.config.limitsEnabled && !fleet) this.#assertAddressNotExhausted(call, client)
    const identity = this.#state.identify(call.raw)
    return identity instanceof Promise
      ? identity.then((known) => this.#judgeAs(known, call, client, fleet, ofAddress))
      : this.#judgeAs(identity, call, client, fleet, ofAddress)
  }

  /**
   * The address alone, before a signature is looked at: by what holds for it whoever signed. Then the wait is that of all
   * its rules. From a fleet address a token may make it count no more.
   */
  #assertAddressNotExhausted(call: Call, client: Client): void {
    const { exhausted, adaptive, table, ids } = this.#state
    if (exhausted.size === 0) return
    const { rule, isPublic } = call
    const at = { rule, isPublic, client, fleet: false, userId: null, accounts: [] }
    const wishes = wishesOf({ ...at, factor: adaptive.factor('premium') }, table, ids)
    const forAll = (wish: Wish): boolean => wish.rule === 'IP' || (isPublic && wish.rule.startsWith('AUTH_'))
    if (!wishes.some((wish) => forAll(wish) && exhausted.left(exhaustedKey(wish)) > 0)) return
    const unsigned = adaptive.step === 0 ? [] : wishesOf({ ...at, factor: adaptive.factor('anonymous') }, table, ids)
    this.#assertNotExhausted(call, client, [...wishes, ...unsigned])
  }

  #judgeAs(identity: Identity, call: Call, client: Client, fleet: boolean, ofAddress: number): Told | Promise<Told> {
    const { table, ids, adaptive, config, suspicion } = this.#state
    if (identity === 'forged') suspicion.failed(client, 'token')
    if (!config.limitsEnabled) {
      this.#noteUnknown(call, client)
      return null
    }
    const userId = isUser(identity) ? identity.userId : null
    const at: Circumstances = {
      rule: call.rule,
      isPublic: call.isPublic,
      client,
      fleet,
      userId,
      accounts: [],
      factor: adaptive.factor(userId === null ? 'anonymous' : this.#tierOf(userId)),
    }
    const wishes = wishesOf(at, table, ids)
    this.#assertNotExhausted(call, client, wishes)
    if (userId === null) this.#assertGlobal(call, client, fleet, ofAddress)
    if (!call.accounts) return this.#take(call, client, wishes)
    return call.accounts().then((accounts) => this.#take(call, client, wishesOf({ ...at, accounts }, table, ids)))
  }

  #take(call: Call, client: Client, wishes: readonly Wish[]): Told | Promise<Told> {
    if (wishes.length === 0) return null
    const standings = this.#state.limiter.take(wishes)
    return standings instanceof Promise
      ? standings.then((known) => this.#conclude(call, client, wishes, known))
      : this.#conclude(call, client, wishes, standings)
  }

  #conclude(call: Call, client: Client, wishes: readonly Wish[], standings: readonly Standing[]): Told {
    const told = tightest(standings)
    const [wish, standing] = [wishes[told], standings[told]]
    if (!wish || !standing) throw new Error('the limiter gave no answer')
    // Also what was used up just now: the next request may be refused by another rule, and is told the longer wait.
    for (let i = 0; i < wishes.length; i++) {
      const [used, each] = [wishes[i], standings[i]]
      if (used && each && each.remaining === 0) this.#state.exhausted.shut(exhaustedKey(used), each.retryMs)
    }
    if (!standing.admitted) this.#refuseStanding(call, client, wish, standing)
    this.#noteUnknown(call, client)
    return toldHeaders(wish.rule, wish.limit, standing)
  }

  #noteUnknown(call: Call, client: Client): void {
    if (call.isUnknownRoute) this.#state.suspicion.failed(client, 'unknown-route')
  }
}
