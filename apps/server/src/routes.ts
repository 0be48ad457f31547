import { accountRoutes } from './accounts/index.ts'
import { healthStatusRoutes } from './admin/index.ts'
import { principalOf, usePrincipals } from './auth/index.ts'
import { deviceRoutes } from './devices/index.ts'
import { adminServerRoutes, analyticsRoutes, enrollRoutes, serverRoutes } from './fleet/index.ts'
import { meRoutes } from './me/index.ts'
import { systemClock } from './platform/clock.ts'
import type { Config } from './platform/config/index.ts'
import { healthRoutes } from './platform/health/index.ts'
import {
  createApp,
  refusePlainCalls,
  unaskedRoutes,
  Upgrades,
  useIdempotency,
  type App,
  type UpgradeRoute,
} from './platform/http/index.ts'
import type { Log } from './platform/log.ts'
import { mailOutboxRoutes } from './platform/mail/index.ts'
import { openapiRoutes, useOpenapi } from './platform/openapi/index.ts'
import { adminProtectionRoutes } from './protection/index.ts'
import type { Rooms } from './rooms.ts'
import type { Foundation } from './start.ts'
import { adminTunnelRoutes, deviceTunnelRoutes, tunnelRoutes } from './tunnels/index.ts'
import { usageRoutes } from './usage/index.ts'

/** The HTTP side with every room's routes; protection in front of all, the document of the API behind. */
export async function buildApp(
  config: Config,
  foundation: Foundation,
  rooms: Rooms,
  log: Log,
  stopping: () => boolean,
): Promise<App> {
  const { protection, auth } = rooms
  const app = await createApp({
    config,
    log,
    protect: protection.protect,
    arrivesByHttps: protection.arrivesByHttps,
    authenticate: auth.authenticate,
  })
  protection.attach(app)
  await useOpenapi(app, config.APP_NAME)
  usePrincipals(app)
  useIdempotency(app, foundation.sql, foundation.secrets, (req) => principalOf(req).userId)
  addRoutes(app, config, foundation, rooms, stopping)
  refusePlainCalls(app, socketsOf(rooms))
  unaskedRoutes(app)
  openapiRoutes(app)
  return app
}

function addRoutes(app: App, config: Config, foundation: Foundation, rooms: Rooms, stopping: () => boolean): void {
  const { sql: db, kv, secrets, redis } = foundation
  const { publicUrl, protection, ends, auth, fleet, billing, tunnels, tunnelDeps } = rooms
  healthRoutes(app, { sql: db, kv, stopping })
  healthStatusRoutes(app, { sql: db, kv, redisConfigured: redis !== undefined, fleet })
  auth.routes(app)
  accountRoutes(app, { db, ends, userIdOf: (req) => principalOf(req).userId })
  meRoutes(app, { db, secrets, ends, auth })
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
  billing.routes(app)
  mailOutboxRoutes(app, { db, secrets, config, publicUrl })
  adminProtectionRoutes(app, { protection, db, callerOf: principalOf })
}

const socketsOf = ({ nodeLinks, usage }: Rooms): UpgradeRoute[] => [nodeLinks.route, usage.socketRoute]

/** The WebSocket side, beside the routes. */
export function buildUpgrades(config: Config, rooms: Rooms, log: Log): Upgrades {
  const upgrades = new Upgrades(config, log, rooms.protection.protectUpgrade, rooms.protection.arrivesByHttps)
  for (const route of socketsOf(rooms)) upgrades.add(route)
  return upgrades
}
