/** The one answer to 'what may this user do now': plan limits, tier, expiry. */
export type { Entitlement } from '../auth/index.ts'
export { entitlementOf, subscriptionOf, type FullEntitlement, type Subscription } from './store.ts'
