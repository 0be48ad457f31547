import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { FastifyRequest, onRequestHookHandler } from 'fastify'
import type { Redis } from 'ioredis'
import type { Attempts } from '../platform/attempts.ts'
import { systemClock, type Clock } from '../platform/clock.ts'
import type { Config } from '../platform/config/index.ts'
import type { Sql } from '../platform/db/index.ts'
import type { App } from '../platform/http/index.ts'
import type { Jobs, Schedule } from '../platform/jobs.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import type { Secrets } from '../platform/secrets.ts'
import { Adaptive } from './adaptive/adaptive.ts'
import { watchPressure } from './adaptive/pressure.ts'
import { addressText } from './address/address.ts'
import { Alerts, type Alert } from './alerts.ts'
import { Bans } from './bans/bans.ts'
import { forgetOldBans } from './bans/store.ts'
import { Clients } from './client.ts'
import type { ProtectionConfig } from './config.ts'
import { GlobalGauge, MinuteCounters, ShutUntil } from './counters.ts'
import { Fleet } from './fleet-addresses.ts'
import { Countries, type CountryOf } from './geo.ts'
import { HttpHooks } from './hook.ts'
import type { Identify } from './identity.ts'
import { Judge, type Told } from './judge.ts'
import { CallerIds, prefixOf } from './keys.ts'
import type { Limiter, Now } from './limiter/limiter.ts'
import { MemoryLimiter } from './limiter/memory.ts'
import { RedisLimiter } from './limiter/redis.ts'
import { ResilientLimiter } from './limiter/resilient.ts'
import { News } from './news.ts'
import { arrivesByHttps } from './scheme.ts'
import { shieldServer } from './shield.ts'
import { Spending } from './spending.ts'
import type { State } from './state.ts'
import { Suspicion } from './suspicion.ts'
import { Tiers } from './tiers.ts'
import { judgeUpgrade, type UpgradeTarget } from './upgrade.ts'
import { Violations } from './violations.ts'
import { WebhookGuard } from './webhook-guard.ts'
import { LimitTable } from './wishes.ts'

export type ProtectionDeps = {
  config: ProtectionConfig
  http: Pick<Config, 'CORS_ORIGINS' | 'PUBLIC_URL' | 'APP_NAME'>
  log: Log
  secrets: Secrets
  sql: Sql
  kv: Kv
  /** Where limits are shared by all instances; without it each counts for itself. */
  redis?: Redis | undefined
  identify: Identify
  /** The tier of an answered request's caller, from what the request itself read; null when nobody is signed in. */
  tierOf?: (req: FastifyRequest) => { userId: string; tier: 'free' | 'premium' } | null
  /** Addresses our tunnels come out of, of nodes that were linked in the last 10 minutes; from memory. */
  fleetAddresses?: () => Iterable<string>
  /** Null without a country database. */
  countryOf?: CountryOf | null
  clock?: Clock
  /** Monotonic milliseconds. */
  now?: Now
}

/** Readable names of a caller: its address or /64, its /48 (null for IPv4), and whether nodes of ours call from there. */
export type CallerNames = { address: string; network: string | null; ours: boolean }

/** The layer in front of HTTP: bans, limits, countries, throttling. */
export type Protection = {
  /** For `createApp`. */
  protect: onRequestHookHandler
  /** Before the first route is added. */
  attach(app: App): void
  /** Answers banned addresses before the router and bounds connections. Before listening. */
  shield(server: Server): void
  /** For `Upgrades`. */
  protectUpgrade(raw: IncomingMessage, target: UpgradeTarget): Promise<Told>
  attempts: Attempts
  /** The one client address that counts, as text: for limits, distance and country; never for a log or a table. */
  addressOf(req: IncomingMessage): string
  /** Whom a request counts for where a room bounds callers itself: in memory only, as `addressOf`. */
  callerOf(req: IncomingMessage): CallerNames
  /** For `createApp` and `Upgrades`: whether the caller came by https, as far as a trusted proxy tells. */
  arrivesByHttps(req: IncomingMessage): boolean
  /** Two letters, or null where the country is not known. */
  countryOf(req: IncomingMessage): string | null
  /** Hears what needs a person. @returns ends the subscription */
  onAlert(listener: (alert: Alert) => void): () => void
  /** What the admin routes of this room work on. */
  state: State
  /** Tells other instances of a reset. */
  news: News
  /** False while limits are counted by this instance alone although there is a Redis. */
  shared(): boolean
  /** Loads the bans and starts to listen. @throws when the database cannot be read */
  start(): Promise<void>
  close(): Promise<void>
  jobs: Jobs
  schedule: Schedule[]
}

const SWEEP_EVERY_MS = 15_000
const TELL_EVERY_MS = 1_000

const monotonic: Now = () => Math.floor(performance.now())

type Limiters = { limiter: Limiter; own: MemoryLimiter; shared: () => boolean; close: () => void }

function openLimiters({ redis, log, now = monotonic }: ProtectionDeps, onReturn: () => void): Limiters {
  const own = new MemoryLimiter(now)
  if (!redis) return { limiter: own, own, shared: () => true, close: () => own.close() }
  const limiter = new ResilientLimiter({
    shared: new RedisLimiter(redis),
    own,
    ping: () => redis.ping(),
    onChange(shared) {
      log[shared ? 'info' : 'warn']({ limits: shared ? 'shared' : 'by this instance alone' }, 'limiter changed')
      onReturn()
    },
  })
  return {
    limiter,
    own,
    shared: () => limiter.shared,
    close() {
      limiter.close()
      own.close()
    },
  }
}

/** Builds the protection; `start` brings it to life. */
export function createProtection(deps: ProtectionDeps): Protection {
  const { config, log, secrets, sql, kv, http, clock = systemClock, now = monotonic } = deps
  const longest = Math.max(
    config.suspicious.windowSeconds * 1_000,
    ...Object.values(config.limits).map((l) => l.windowMs),
  )
  const ids = new CallerIds(secrets, clock, longest)
  const clients = new Clients(config.trustedProxies, config.listed, ids)
  const bans = new Bans({ sql, kv, log, now })
  const fleet = new Fleet({
    addresses: deps.fleetAddresses ?? (() => []),
    isExcluded: (address) => clients.isTrusted(address) || clients.isLoopback(address),
    now,
  })
  const exhausted = new ShutUntil(now)
  const closed = new ShutUntil(now)
  const limiters = openLimiters(deps, () => exhausted.clear())
  const { limiter, own } = limiters
  const global = new GlobalGauge(now)
  const alerts = new Alerts({
    log,
    now,
    webhook: config.alertWebhook,
    appName: http.APP_NAME,
    isPrivate: clients.isPrivate,
  })
  const news = new News(kv, randomUUID(), {
    counted: (n) => global.hear(n),
    closed: (id, forMs) => closed.shut(id, forMs),
    reset(wishes) {
      own.reset(wishes)
      exhausted.clear()
      for (const { id } of wishes) for (const kept of [closed, state.perAddress, state.perPrefix]) kept.forget(id)
    },
  })
  const suspicion = new Suspicion({
    config,
    limiter,
    fleet,
    closed,
    exhausted,
    ban(network, reason, seconds) {
      alerts.banned()
      return bans.ban(network, reason, seconds)
    },
    tellClosed: (id, forMs) => news.tell({ kind: 'closed', id, forMs }),
    isTrusted: (client) => clients.isTrusted(client.address),
    log,
    now,
  })
  const adaptive = new Adaptive(config.adaptive)
  const violations = new Violations(now)
  const state: State = {
    config,
    log,
    now,
    clients,
    ids,
    limiter,
    table: new LimitTable(config.limits),
    bans,
    adaptive,
    fleet,
    countries: new Countries(config.geo, deps.countryOf ?? null),
    suspicion,
    violations,
    identify: deps.identify,
    allowedOrigins: new Set([...http.CORS_ORIGINS, ...(http.PUBLIC_URL ? [http.PUBLIC_URL] : [])]),
    perAddress: new MinuteCounters(now),
    perPrefix: new MinuteCounters(now),
    links: new MinuteCounters(now),
    global,
    exhausted,
    closed,
  }
  const bad = new MinuteCounters(now)
  const badShut = new ShutUntil(now)
  const webhooks = new WebhookGuard({ bad, shut: badShut, alert: (text) => alerts.raise(text) })
  const tiers = new Tiers()
  const judge = new Judge(state, tiers.of)
  const hooks = new HttpHooks({ judge, webhooks, violations })
  const ends: (() => Promise<void> | void)[] = []

  const every = (ms: number, act: () => void) => {
    const timer = setInterval(act, ms)
    timer.unref()
    ends.push(() => clearInterval(timer))
  }
  const sweep = () => {
    for (const kept of [state.perAddress, state.perPrefix, state.links, bad, exhausted, closed, badShut, violations])
      kept.sweep()
  }

  return {
    protect: hooks.protect,
    attach(app) {
      hooks.attach(app)
      const { tierOf } = deps
      if (!tierOf) return
      app.addHook('onResponse', async (req) => {
        const known = tierOf(req)
        if (known) tiers.learn(known.userId, known.tier)
      })
    },
    shield: (server) =>
      shieldServer(server, {
        bans,
        clients,
        fleet,
        violations,
        connectionsPerAddress: config.connectionsPerAddress,
        https: http.PUBLIC_URL?.startsWith('https:') ?? false,
      }),
    protectUpgrade: (raw, target) => judgeUpgrade(judge, raw, target),
    attempts: new Spending(state, webhooks, tiers.of),
    addressOf: (req) => addressText(clients.of(req).address),
    callerOf(req) {
      const { address, countedAs } = clients.of(req)
      return { address: countedAs, network: address.family === 6 ? prefixOf(address) : null, ours: fleet.has(address) }
    },
    arrivesByHttps: (req) => arrivesByHttps(req, clients.isTrusted(clients.peerOf(req.socket))),
    countryOf: (req) => state.countries.countryOf(clients.of(req).address),
    onAlert: (listener) => alerts.on(listener),
    state,
    news,
    shared: limiters.shared,
    async start() {
      await bans.start()
      ends.push(() => bans.close(), await news.start())
      every(SWEEP_EVERY_MS, sweep)
      every(TELL_EVERY_MS, () => {
        const n = global.takeUntold()
        if (n > 0) news.tell({ kind: 'counted', n })
      })
      if (config.adaptive)
        ends.push(
          watchPressure(sql, (pressure) => {
            if (adaptive.observe(pressure)) log.warn({ step: adaptive.step, ...pressure }, 'limits follow the load')
          }),
        )
    },
    async close() {
      for (const end of ends.splice(0).toReversed()) await end()
      limiters.close()
    },
    jobs: { 'protection.forget-bans': () => forgetOldBans(sql) },
    schedule: [{ cron: '17 3 * * *', job: 'protection.forget-bans' }],
  }
}
