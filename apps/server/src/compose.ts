import { accountRoutes, type AccessEnd } from './accounts/index.ts'
import { healthStatusRoutes } from './admin/index.ts'
import { createBilling } from './billing/index.ts'
import { createAuth, principalOf, usePrincipals, type Auth, type FirstAdmin } from './auth/index.ts'
import { deviceRoutes, endDevices } from './devices/index.ts'
import { subscriptionOf } from './entitlements/index.ts'
import {
  adminServerRoutes,
  analyticsRoutes,
  createFleet,
  type Fleet,
  enrollRoutes,
  installationId,
  serverRoutes,
} from './fleet/index.ts'
import { meRoutes } from './me/index.ts'
import {
  adminProtectionRoutes,
  createProtection,
  openCountryDatabase,
  type ProtectionConfig,
} from './protection/index.ts'
import { createNodeLinks, type NodeLinks } from './node-link/index.ts'
import { systemClock } from './platform/clock.ts'
import type { Config } from './platform/config/index.ts'
import { healthRoutes } from './platform/health/index.ts'
import { createApp, forgetOldMarks, Upgrades, useIdempotency, type App } from './platform/http/index.ts'
import { startJobs, type Jobs, type Schedule } from './platform/jobs.ts'
import type { Log } from './platform/log.ts'
import { createMailer, mailOutboxRoutes } from './platform/mail/index.ts'
import { openapiRoutes, useOpenapi } from './platform/openapi/index.ts'
import type { Foundation } from './start.ts'
import {
  adminTunnelRoutes,
  createTunnels,
  desiredState,
  deviceTunnelRoutes,
  endTunnelsOf,
  enforceEntitlement,
  tunnelRoutes,
  type LiveCounters,
  type TunnelDeps,
} from './tunnels/index.ts'
import { createUsage, usageJobs, usageRoutes, usageSchedule } from './usage/index.ts'

export type ComposedServer = {
  app: App
  /** @returns where it listens, and what the terminal shows once */
  start(): Promise<{ url: string; notices: string[] }>
  stop(): Promise<void>
}

const PLATFORM_JOBS = (sql: Foundation['sql']): { jobs: Jobs; schedule: Schedule[] } => ({
  jobs: { 'platform.forget-marks': () => forgetOldMarks(sql) },
  schedule: [{ cron: '17 * * * *', job: 'platform.forget-marks' }],
})

/** A part of one room that another is built with before the room itself is there. */
function later<T>(what: string): { get(): T; set(value: T): void } {
  let held: T | undefined
  return {
    get() {
      if (held === undefined) throw new Error(`${what} is used before it is there`)
      return held
    },
    set(value) {
      held = value
    },
  }
}

function adminNotices(admin: FirstAdmin): string[] {
  switch (admin.outcome) {
    case 'one-time':
      return [
        `Admin      ${admin.email}`,
        `Password   ${admin.password}   (shown once, good for 24 h, to be changed at the first sign-in)`,
      ]
    case 'made':
      return [`Admin      ${admin.email}   (with the password of ADMIN_PASSWORD)`]
    case 'email-taken':
      return [`No admin was made: ${admin.email} belongs to an ordinary account. Set another ADMIN_EMAIL.`]
    case 'present':
      return []
  }
}

/** Builds every room on the foundation and wires them; the only place that knows everybody. Nothing runs before `start`. */
export async function composeServer(
  config: Config,
  protecting: ProtectionConfig,
  foundation: Foundation,
  log: Log,
): Promise<ComposedServer> {
  const { sql: db, kv, secrets } = foundation
  const publicUrl =
    config.PUBLIC_URL ?? `http://${config.HOST === '0.0.0.0' ? 'localhost' : config.HOST}:${config.PORT}`
  const links = later<NodeLinks>('the node links')
  const live = later<LiveCounters>('live counters')
  let stopping = false

  const identity = later<Auth>('sign-in')
  const fleetHere = later<Fleet>('the fleet')
  const protection = createProtection({
    config: protecting,
    http: config,
    log,
    secrets,
    sql: db,
    kv,
    redis: foundation.redis,
    identify: (req) => identity.get().identify(req),
    tierOf: (req) => (req.principal ? { userId: req.principal.userId, tier: req.principal.entitlement.tier } : null),
    fleetAddresses: () =>
      fleetHere
        .get()
        .snapshot()
        .filter((s) => s.linked)
        .map((s) => s.view.ip_address),
    countryOf: await openCountryDatabase(protecting.geo.file),
  })
  const mailer = createMailer(config, { db, secrets, publicUrl })
  const ends: AccessEnd[] = [endDevices, endTunnelsOf]
  const auth = await createAuth({
    db,
    kv,
    secrets,
    config,
    log,
    publicUrl,
    mailer,
    ends,
    subscriptionOf: (userId) => briefOf(db, userId),
    attempts: protection.attempts,
    failuresAllowed: protecting.accountFailures,
  })
  identity.set(auth)
  const fleet = createFleet({
    db,
    kv,
    log,
    vpnSubnet: config.VPN_SUBNET,
    links: { rotateKey: (serverId) => links.get().rotateKey(serverId) },
  })
  fleetHere.set(fleet)
  const billing = createBilling({
    db,
    config,
    log,
    publicUrl,
    mailer,
    attempts: protection.attempts,
    onEntitlementChanged: async (tx, userId) => void (await enforceEntitlement(tx, userId)),
  })
  const nodeLinks = createNodeLinks({
    installation: await installationId(db),
    desired: desiredState(db, secrets),
    registry: fleet,
    db,
    kv,
    log,
  })
  links.set(nodeLinks)
  const tunnelDeps: TunnelDeps = {
    db,
    kv,
    log,
    secrets,
    fleet,
    nodeLink: nodeLinks,
    live: { read: (keys) => live.get().read(keys), watch: (keys) => live.get().watch(keys) },
    settings: {
      dns: config.VPN_DNS,
      connectTimeoutMs: config.CONNECT_TIMEOUT_MS,
      restSeconds: config.LEASE_REST_SECONDS,
      idleHours: config.CONNECTION_IDLE_HOURS,
      requireVerifiedEmail: config.REQUIRE_EMAIL_VERIFICATION,
    },
    clientAddress: (req) => protection.addressOf(req.raw),
  }
  const tunnels = createTunnels(tunnelDeps)
  const loadOf = (serverId: string): number | null => fleet.byId(serverId)?.view.load ?? null
  const usage = createUsage({
    db,
    kv,
    log,
    auth,
    links: nodeLinks,
    loadOf,
    queryJwt: config.WS_QUERY_JWT,
    limitSockets: async (userId, req) => void (await protection.attempts.spend('WEBSOCKET', userId, req.raw)),
  })
  live.set(usage.live)

  const app = await createApp({ config, log, protect: protection.protect, authenticate: auth.authenticate })
  protection.attach(app)
  await useOpenapi(app, config.APP_NAME)
  usePrincipals(app)
  useIdempotency(app, db, secrets, (req) => principalOf(req).userId)
  healthRoutes(app, { sql: db, kv, stopping: () => stopping })
  healthStatusRoutes(app, { sql: db, kv, redisConfigured: foundation.redis !== undefined, fleet })
  auth.routes(app)
  accountRoutes(app, { db, ends, userIdOf: (req) => principalOf(req).userId })
  meRoutes(app, { db, auth })
  deviceRoutes(app, {
    db,
    carriesDevice: (deviceId, req) => tunnels.carriesDevice(deviceId, protection.addressOf(req.raw)),
  })
  serverRoutes(app, { fleet, tierOf: async (req) => principalOf(req).entitlement.tier })
  analyticsRoutes(app, { fleet })
  adminServerRoutes(app, { acts: fleet.acts, callerOf: principalOf })
  enrollRoutes(app, { acts: fleet.acts })
  tunnelRoutes(app, tunnelDeps)
  adminTunnelRoutes(app, tunnelDeps)
  deviceTunnelRoutes(app, { ...tunnelDeps, publicUrl })
  usageRoutes(app, { db, kv, clock: systemClock })
  mailOutboxRoutes(app, { db, secrets, config, publicUrl })
  billing.routes(app)
  adminProtectionRoutes(app, { protection, db, callerOf: principalOf })
  openapiRoutes(app)

  const upgrades = new Upgrades(config, log, protection.protectUpgrade)
  upgrades.add(nodeLinks.route)
  upgrades.add(usage.socketRoute)
  upgrades.attach(app.server)
  protection.shield(app.server)

  const platformJobs = PLATFORM_JOBS(db)
  const jobs: Jobs = {
    ...platformJobs.jobs,
    ...auth.jobs,
    ...protection.jobs,
    ...billing.jobs,
    ...tunnels.jobs,
    ...usageJobs(db),
  }
  const schedule = [
    ...platformJobs.schedule,
    ...auth.schedule,
    ...protection.schedule,
    ...billing.schedule,
    ...tunnels.schedule,
    ...usageSchedule,
  ]
  let runner: { stop(): Promise<void> } | undefined

  return {
    app,
    async start() {
      const notices = adminNotices(await auth.ensureFirstAdmin())
      await protection.start()
      await fleet.start()
      await nodeLinks.start()
      await usage.start()
      await tunnels.start()
      runner = await startJobs(foundation.database.url, foundation.database.role, jobs, schedule, log)
      const url = await app.listen({ host: config.HOST, port: config.PORT, listenTextResolver: () => 'listening' })
      await billing.start(url)
      const standin = billing.standinUrl()
      if (standin) notices.push(`Payments   ${standin} (a stand-in for Stripe on this machine; no money moves)`)
      return { url: config.PUBLIC_URL ?? url, notices }
    },
    /** Refuses what is new, lets what runs end, then stops room by room: those above before those they stand on. */
    async stop() {
      stopping = true
      await upgrades.close()
      await app.close()
      await runner?.stop()
      await billing.stop()
      await tunnels.stop()
      await nodeLinks.stop()
      await usage.stop()
      await fleet.stop()
      await protection.close()
      auth.close()
      mailer.close()
    },
  }
}

async function briefOf(db: Foundation['sql'], userId: string) {
  const { status, end_date } = await subscriptionOf(db, userId)
  return { status, expiry: end_date }
}
