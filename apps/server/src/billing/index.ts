/** Plans, subscriptions, Stripe, invoices, refunds, webhooks: money in, premium out. */
export { createBilling, type Billing } from './create.ts'
export type { BillingConfig, BillingDeps } from './parts.ts'
export type { Drift } from './reconcile.ts'
export { StripeStandin } from './standin/index.ts'
