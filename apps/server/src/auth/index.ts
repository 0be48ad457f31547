export { principalOf, type Entitlement, type Principal } from './principal.ts'
export type { Auth, Revocation } from './types.ts'
