import type { AccessEnd } from './accounts/index.ts'
import { createAuth, type Auth } from './auth/index.ts'
import { createBilling } from './billing/index.ts'
import { endDevices } from './devices/index.ts'
import { subscriptionOf } from './entitlements/index.ts'
import { createFleet, installationId, type Fleet } from './fleet/index.ts'
import { createNodeLinks, type NodeLinks } from './node-link/index.ts'
import type { Config } from './platform/config/index.ts'
import type { Log } from './platform/log.ts'
import { createMailer } from './platform/mail/index.ts'
import { createProtection, openCountryDatabase, type Protection, type ProtectionConfig } from './protection/index.ts'
import type { Foundation } from './start.ts'
import {
  createTunnels,
  desiredState,
  endTunnelsOf,
  enforceEntitlement,
  type LiveCounters,
  type TunnelDeps,
} from './tunnels/index.ts'
import { createUsage } from './usage/index.ts'

export type Rooms = Awaited<ReturnType<typeof buildRooms>>

/** A part of one room that another is built with before the room itself is there. */
function later<T>(what: string): { get(): T; set(value: T): T } {
  let held: T | undefined
  return {
    get() {
      if (held === undefined) throw new Error(`${what} is used before it is there`)
      return held
    },
    set(value) {
      held = value
      return value
    },
  }
}

/** Builds every room on the foundation and hands each what it needs of the others. Nothing runs yet. */
export async function buildRooms(config: Config, protecting: ProtectionConfig, foundation: Foundation, log: Log) {
  const { sql: db, kv, secrets } = foundation
  const publicUrl =
    config.PUBLIC_URL ?? `http://${config.HOST === '0.0.0.0' ? 'localhost' : config.HOST}:${config.PORT}`
  const authLater = later<Auth>('sign-in')
  const fleetLater = later<Fleet>('the fleet')
  const linksLater = later<NodeLinks>('the node links')
  const liveLater = later<LiveCounters>('live counters')

  const protection = await protectionWith(config, protecting, foundation, log, authLater.get, fleetLater.get)
  const mailer = createMailer(config, { db, secrets, publicUrl })
  const ends: AccessEnd[] = [endDevices, endTunnelsOf]
  const auth = authLater.set(
    await createAuth({
      db,
      kv,
      secrets,
      config,
      log,
      publicUrl,
      mailer,
      ends,
      async subscriptionOf(userId) {
        const { status, end_date: expiry } = await subscriptionOf(db, userId)
        return { status, expiry }
      },
      attempts: protection.attempts,
      countryOf: (req) => protection.countryOf(req),
      failuresAllowed: protecting.accountFailures,
    }),
  )
  const fleet = fleetLater.set(
    createFleet({
      db,
      kv,
      log,
      vpnSubnet: config.VPN_SUBNET,
      links: { rotateKey: (serverId) => linksLater.get().rotateKey(serverId) },
    }),
  )
  const billing = createBilling({
    db,
    config,
    log,
    publicUrl,
    mailer,
    attempts: protection.attempts,
    onEntitlementChanged: async (tx, userId) => (await enforceEntitlement(tx, userId)).length,
  })
  const nodeLinks = linksLater.set(
    createNodeLinks({
      installation: await installationId(db),
      desired: desiredState(db, secrets),
      registry: fleet,
      db,
      kv,
      log,
      attempts: protection.attempts,
      callerOf: (req) => protection.callerOf(req),
    }),
  )
  const tunnelDeps: TunnelDeps = {
    db,
    kv,
    log,
    secrets,
    fleet,
    nodeLink: nodeLinks,
    live: { read: (keys) => liveLater.get().read(keys), watch: (keys) => liveLater.get().watch(keys) },
    settings: {
      dns: config.VPN_DNS,
      connectTimeoutMs: config.CONNECT_TIMEOUT_MS,
      restSeconds: config.LEASE_REST_SECONDS,
      idleHours: config.CONNECTION_IDLE_HOURS,
      requireVerifiedEmail: config.REQUIRE_EMAIL_VERIFICATION,
    },
    clientAddress: (req) => protection.addressOf(req.raw),
  }
  const usage = createUsage({
    db,
    kv,
    log,
    auth,
    links: nodeLinks,
    loadOf: (serverId) => fleet.byId(serverId)?.view.load ?? null,
    queryJwt: config.WS_QUERY_JWT,
    limitSockets: async (userId, req) => void (await protection.attempts.spend('WEBSOCKET', userId, req.raw)),
  })
  liveLater.set(usage.live)
  const tunnels = createTunnels(tunnelDeps)
  return { publicUrl, protection, mailer, ends, auth, fleet, billing, nodeLinks, tunnels, tunnelDeps, usage }
}

async function protectionWith(
  config: Config,
  protecting: ProtectionConfig,
  { sql, kv, redis, secrets }: Foundation,
  log: Log,
  auth: () => Auth,
  fleet: () => Fleet,
): Promise<Protection> {
  return createProtection({
    config: protecting,
    http: config,
    log,
    secrets,
    sql,
    kv,
    redis,
    identify: (req) => auth().identify(req),
    tierOf: (req) => (req.principal ? { userId: req.principal.userId, tier: req.principal.entitlement.tier } : null),
    fleetAddresses: () => fleet().exitAddresses(),
    countryOf: await openCountryDatabase(protecting.geo.file),
  })
}
