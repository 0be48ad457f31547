import { permissionsOf, scopedPermissions } from '../accounts/index.ts'
import type { ApiTokenRow } from './api-token/store.ts'
import type { Parts } from './parts.ts'
import type { Entitlement, Principal } from './principal.ts'
import type { SessionRow } from './session/store.ts'

type Deps = Pick<Parts, 'config'>
type Plan = Pick<SessionRow, 'plan_id' | 'tier' | 'max_devices' | 'max_connections' | 'plan_expires_at'>

const entitlementFrom = (row: Plan): Entitlement => ({
  planId: row.plan_id,
  tier: row.tier,
  maxDevices: row.max_devices,
  maxConnections: row.max_connections,
  expiresAt: row.plan_expires_at,
})

/** In production staff has a second factor, or sets one up before anything else. */
const mustSetUpFactor = ({ config }: Deps, row: { staff_has_factor: boolean | null }): boolean =>
  config.production && row.staff_has_factor === false

/** @property scope of an app's token: what its user allowed it, never more than the role */
type SessionCredential = { userId: string; sessionId: string; expiresAt: Date; scope?: string | undefined }

/** Who calls by a session, as its row says. */
export const principalOfSession = (deps: Deps, by: SessionCredential, row: SessionRow): Principal => ({
  userId: by.userId,
  sessionId: by.sessionId,
  role: row.role,
  permissions: row.kind === 'oauth' ? scopedPermissions(row.role, by.scope?.split(' ') ?? []) : permissionsOf(row.role),
  mustChangePassword: row.must_change_password,
  mustSetUpFactor: mustSetUpFactor(deps, row),
  isVerified: row.is_verified,
  entitlement: entitlementFrom(row),
  signedInAt: row.opened_at,
  sessionExpiresAt: row.expires_at,
  credentialExpiresAt: by.expiresAt,
})

/** Who calls by an API token: its owner, with what the scopes leave. The token's id stands where a session's would. */
export const principalOfApiToken = (deps: Deps, id: string, row: ApiTokenRow): Principal => ({
  userId: row.user_id,
  sessionId: id,
  role: row.role,
  permissions: scopedPermissions(row.role, row.scopes),
  mustChangePassword: false,
  mustSetUpFactor: mustSetUpFactor(deps, row),
  isVerified: row.is_verified,
  entitlement: entitlementFrom(row),
  sessionExpiresAt: row.expires_at,
  credentialExpiresAt: row.expires_at,
})
