/** Passwords, sessions, tokens: who calls, and how they proved it. */
export { assertMay, bearerOf, usePrincipals } from './authenticate.ts'
export { createAuth, type Auth, type AuthDeps } from './create.ts'
export type { FirstAdmin } from './first-admin.ts'
export type { SubscriptionBrief } from './parts.ts'
export { PasswordText } from './password/rules.ts'
export { principalOf, type Entitlement, type Principal } from './principal.ts'
export type { Claims } from './token/access.ts'
export type { Revocation } from './types.ts'
