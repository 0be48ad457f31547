/** Roles from the least to the most. `is_superuser` of older clients means the last two. */
export const ROLES = ['user', 'support', 'admin', 'super_admin'] as const
export type Role = (typeof ROLES)[number]

const USER = [
  'me:read',
  'me:write',
  /** Passwords, factors, sessions, API tokens, export, erasure: what only a first-party session may touch. */
  'me:secure',
  'devices:read',
  'devices:write',
  'vpn:use',
  'servers:read',
  'usage:read',
  'billing:use',
] as const
const SUPPORT = ['users:read', 'connections:read', 'payments:read', 'servers:admin-read', 'dashboard:read'] as const
const ADMIN = [
  'servers:write',
  'users:write',
  'bans:write',
  'plans:write',
  'audit:read',
  'limits:write',
  'revenue:read',
] as const
const SUPER_ADMIN = ['roles:write', 'mail:read', 'oauth-clients:write'] as const

export type Permission = (typeof USER | typeof SUPPORT | typeof ADMIN | typeof SUPER_ADMIN)[number]

/** What each role adds to the one before it. */
const ADDED: Record<Role, readonly Permission[]> = {
  user: USER,
  support: SUPPORT,
  admin: ADMIN,
  super_admin: SUPER_ADMIN,
}

const granted = new Map<Role, ReadonlySet<Permission>>()
const known = new Set<Permission>()
for (const role of ROLES) {
  for (const permission of ADDED[role]) known.add(permission)
  granted.set(role, new Set(known))
}

/** Everything `role` may do. @throws when there is no such role: never open on failure */
export function permissionsOf(role: Role): ReadonlySet<Permission> {
  const found = granted.get(role)
  if (!found) throw new Error('no such role')
  return found
}

export const isPermission = (text: string): text is Permission => known.has(text as Permission)

/** Everybody but plain users: shorter sessions, longer passwords. */
export const isStaff = (role: Role): boolean => role !== 'user'

/** True when `role` is at least `other`. */
export const isAtLeast = (role: Role, other: Role): boolean => ROLES.indexOf(role) >= ROLES.indexOf(other)

/** What an API token or an app may be given of its owner's power. */
export const SCOPES = ['vpn', 'account', 'staff'] as const
export type Scope = (typeof SCOPES)[number]

const VPN: Permission[] = ['me:read', 'devices:read', 'devices:write', 'vpn:use', 'servers:read', 'usage:read']
const ACCOUNT: Permission[] = [...VPN, 'me:write', 'billing:use']

/**
 * What remains of a role under scopes. `staff` is all the role allows; `me:secure` goes with none: passwords, factors,
 * sessions, tokens, export and erasure are for sessions of our own sign-in.
 */
export function scopedPermissions(role: Role, scopes: readonly string[]): ReadonlySet<Permission> {
  const all = permissionsOf(role)
  if (scopes.includes('staff')) return new Set([...all].filter((permission) => permission !== 'me:secure'))
  const given = scopes.includes('account') ? ACCOUNT : scopes.includes('vpn') ? VPN : []
  return new Set(given.filter((permission) => all.has(permission)))
}
