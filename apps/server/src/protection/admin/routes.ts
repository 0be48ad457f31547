import type { App } from '../../platform/http/index.ts'
import { auditRoutes } from './audit-routes.ts'
import { banRoutes } from './ban-routes.ts'
import type { AdminProtectionDeps } from './deps.ts'
import { limitRoutes } from './limit-routes.ts'

/** Limits and bans for staff. */
export function adminProtectionRoutes(app: App, deps: AdminProtectionDeps): void {
  limitRoutes(app, deps)
  banRoutes(app, deps)
  auditRoutes(app, deps.db)
}
