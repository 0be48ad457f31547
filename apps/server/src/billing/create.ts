import { join } from 'node:path'
import { systemClock } from '../platform/clock.ts'
import { Unavailable } from '../platform/errors.ts'
import type { App } from '../platform/http/index.ts'
import type { Jobs, Schedule } from '../platform/jobs.ts'
import { ACT_JOB } from './acts-queue.ts'
import { actJob } from './acts.ts'
import { billingAdminRoutes } from './admin-routes.ts'
import { FORGET_JOB, forgetJob, requeueForgets, resolveJob, syncJob, tidyJob } from './event-jobs.ts'
import { settleHome } from './home.ts'
import { Inbox, requeueEvents, RESOLVE_JOB, SYNC_JOB } from './inbox.ts'
import { LIFECYCLE_JOB, lifecycleJob, sweepJob } from './lifecycle.ts'
import { MAIL_JOB, mailJob } from './mails.ts'
import { TIDY_JOB } from './orders.ts'
import type { BillingDeps, Parts } from './parts.ts'
import { paymentRoutes } from './payment-routes.ts'
import { adoptConfiguredPrices, syncPrices } from './prices.ts'
import { reconcile, RECONCILE_JOB, reconcileJob, type Drift } from './reconcile.ts'
import { REFUND_JOB, refundJob } from './refunds.ts'
import { StripeStandin } from './standin/index.ts'
import { openStripe, type StripeGate } from './stripe.ts'
import { subscriptionRoutes } from './subscription-routes.ts'
import { webhookRoute } from './webhook.ts'

/** What the composition root gets from this room. */
export type Billing = {
  /** All routes, the webhook's included (it reads its raw body in a scope of its own). */
  routes(app: App): void
  jobs: Jobs
  schedule: Schedule[]
  /** Whether there is a payment provider, real or stand-in. */
  enabled(): boolean
  /** Makes every price that Stripe does not know yet. @returns how many @throws {Unavailable} billing is off */
  syncPlans(): Promise<number>
  /** Compares everybody with Stripe and repairs. @throws {Unavailable} billing is off */
  reconcile(): Promise<Drift>
  /**
   * Starts the stand-in where it is switched on, and makes the prices known that the environment names. A Stripe that is
   * away does not stop the service from starting.
   * @param url where we listen, for the stand-in's webhooks; without a path
   */
  start(url: string): Promise<void>
  /** The stand-in's address, e.g. for the terminal; undefined without one. */
  standinUrl(): string | undefined
  stop(): Promise<void>
}

const SWEEP_JOB = 'billing.sweep'

/** Builds the room; nothing is sent and nothing listens before `start`. */
export function createBilling(deps: BillingDeps): Billing {
  const { db, config, log } = deps
  let gate: StripeGate | undefined =
    config.STRIPE_SECRET_KEY === undefined
      ? undefined
      : openStripe({ key: config.STRIPE_SECRET_KEY, base: config.STRIPE_API_BASE })
  let secrets: readonly string[] = config.STRIPE_WEBHOOK_SECRET
  let standin: StripeStandin | undefined
  const parts: Parts = {
    ...deps,
    clock: deps.clock ?? systemClock,
    billingEnabled: () => gate !== undefined,
    stripe() {
      if (!gate) throw new Unavailable('Billing is switched off here.')
      return gate
    },
  }
  const inbox = new Inbox(db)

  async function startStandin(url: string): Promise<void> {
    standin = await StripeStandin.start({ file: join(config.DATA_DIR, 'stripe-standin.json'), follow: true })
    standin.delivery.to(`${url}/api/v1/payments/webhook`)
    secrets = [standin.webhookSecret]
    gate = openStripe({ key: standin.apiKey, base: standin.base })
    log.info({ url: standin.base }, 'the Stripe stand-in listens')
  }

  return {
    routes(app) {
      subscriptionRoutes(app, parts)
      paymentRoutes(app, parts)
      billingAdminRoutes(app, parts)
      webhookRoute(app, parts, inbox, () => secrets)
    },
    jobs: {
      [SYNC_JOB]: syncJob(parts),
      [RESOLVE_JOB]: resolveJob(parts),
      [ACT_JOB]: actJob(parts),
      [TIDY_JOB]: tidyJob(parts),
      [FORGET_JOB]: forgetJob(parts),
      [REFUND_JOB]: refundJob(parts),
      [MAIL_JOB]: mailJob(parts),
      [LIFECYCLE_JOB]: lifecycleJob(parts),
      [SWEEP_JOB]: sweepJob(parts),
      [RECONCILE_JOB]: reconcileJob(parts),
    },
    schedule: [
      { cron: '* * * * *', job: LIFECYCLE_JOB },
      { cron: '23 3 * * *', job: RECONCILE_JOB },
      { cron: '41 4 * * *', job: SWEEP_JOB },
    ],
    enabled: () => parts.billingEnabled(),
    async syncPlans() {
      const { sdk } = parts.stripe()
      // Prices that the operator made are taken first, so that no second one is made beside them.
      await adoptConfiguredPrices(db, sdk, config, log)
      return syncPrices(db, sdk)
    },
    reconcile: () => {
      parts.stripe()
      return reconcile(parts)
    },
    async start(url) {
      if (config.STRIPE_STANDIN) await startStandin(url)
      if (!gate) return
      try {
        await settleHome(db, gate, log)
      } catch (err) {
        log.error({ err }, 'it could not be asked which account of Stripe the key is of')
      }
      await requeueEvents(db, 0)
      await requeueForgets(db)
      if (secrets.length === 0)
        log.warn('STRIPE_WEBHOOK_SECRET is not set: webhooks are refused, payments are seen by the nightly comparison')
      try {
        await adoptConfiguredPrices(db, gate.sdk, config, log)
      } catch (err) {
        log.error({ err }, 'the configured Stripe prices could not be read')
      }
    },
    standinUrl: () => standin?.base,
    async stop() {
      await standin?.close()
    },
  }
}
