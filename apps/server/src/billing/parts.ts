import type { Attempts } from '../platform/attempts.ts'
import type { Clock } from '../platform/clock.ts'
import type { Config } from '../platform/config/index.ts'
import type { Sql, Tx } from '../platform/db/index.ts'
import type { Log } from '../platform/log.ts'
import type { Mailer } from '../platform/mail/index.ts'
import type { StripeGate } from './stripe.ts'

export type BillingConfig = Pick<
  Config,
  | 'APP_NAME'
  | 'CORS_ORIGINS'
  | 'DATA_DIR'
  | 'REFUND_WINDOW_DAYS'
  | 'REQUIRE_EMAIL_VERIFICATION'
  | 'STRIPE_API_BASE'
  | 'STRIPE_MONTHLY_PRICE_ID'
  | 'STRIPE_SECRET_KEY'
  | 'STRIPE_STANDIN'
  | 'STRIPE_TAX'
  | 'STRIPE_WEBHOOK_SECRET'
  | 'STRIPE_YEARLY_PRICE_ID'
>

export type BillingDeps = {
  db: Sql
  config: BillingConfig
  log: Log
  clock?: Clock
  /** `PUBLIC_URL`, or the address we listen on: where links in mails lead and checkout may come back to. */
  publicUrl: string
  mailer: Mailer
  /** Hears of webhook calls with a bad signature. */
  attempts: Pick<Attempts, 'failed'>
  /**
   * What a user may do has changed, in this transaction: the rooms above end what is no longer allowed. Runs again for
   * the same change without harm.
   * @returns how many connections ended
   */
  onEntitlementChanged(tx: Tx, userId: string): Promise<number>
  /** Milliseconds between looks whether our key is still the right one; a minute unless told. */
  homeCheckMs?: number
}

/** What every use case of this room is handed. */
export type Parts = Omit<BillingDeps, 'clock'> & {
  clock: Clock
  /** Stripe, as long as billing is on. @throws {Unavailable} when it is off */
  stripe(): StripeGate
  billingEnabled(): boolean
}

/** The injected clock as a point in time. */
export const nowOf = ({ clock }: Pick<Parts, 'clock'>): Date => new Date(clock.now())
