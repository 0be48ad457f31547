import { join } from 'node:path'
import { systemClock } from '../platform/clock.ts'
import { Unavailable } from '../platform/errors.ts'
import type { App } from '../platform/http/index.ts'
import type { Jobs, Schedule } from '../platform/jobs.ts'
import { ACT_JOB } from './acts-queue.ts'
import { actJob } from './acts.ts'
import { billingAdminRoutes } from './admin-routes.ts'
import { FORGET_JOB, forgetJob, requeueForgets, resolveJob, syncJob, tidyJob } from './event-jobs.ts'
import { OtherHome, settleHome, type Leave } from './home.ts'
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
  /** Makes every price that Stripe does not know yet. @returns how many @throws {Unavailable} billing is off; {OtherHome} */
  syncPlans(): Promise<number>
  /** Compares everybody with Stripe and repairs. @throws {Unavailable} billing is off; {OtherHome} */
  reconcile(): Promise<Drift>
  /**
   * Goes over to the account or mode of Stripe that the key is of.
   * @returns whether it is another than before @throws {Unavailable} billing is off; Stripe's errors
   */
  move(): Promise<boolean>
  /**
   * Starts the stand-in where it is switched on, and billing once the key is known to be of the Stripe whose customers we
   * have; until then it is off and looks again. A Stripe that is away does not stop the service from starting.
   * @param url where we listen, for the stand-in's webhooks; without a path
   */
  start(url: string): Promise<void>
  /** The stand-in's address, e.g. for the terminal; undefined without one. */
  standinUrl(): string | undefined
  stop(): Promise<void>
}

const SWEEP_JOB = 'billing.sweep'
const HOME_CHECK_MS = 60_000

/** Builds the room; nothing is sent and nothing listens before `start`. */
export function createBilling(deps: BillingDeps): Billing {
  const { db, config, log } = deps
  let gate: StripeGate | undefined =
    config.STRIPE_SECRET_KEY === undefined
      ? undefined
      : openStripe({ key: config.STRIPE_SECRET_KEY, base: config.STRIPE_API_BASE })
  let secrets: readonly string[] = config.STRIPE_WEBHOOK_SECRET
  let standin: StripeStandin | undefined
  /** Whether the key is of the Stripe whose customers we have. One that was and is no more never goes over by itself. */
  let home: 'unknown' | 'ours' | 'left' = 'unknown'
  /** What is still to be done since billing was switched on; the look at our home tries until it is. */
  const due = { queue: true, prices: true }
  let timer: NodeJS.Timeout | undefined
  const parts: Parts = {
    ...deps,
    clock: deps.clock ?? systemClock,
    billingEnabled: () => gate !== undefined && home === 'ours',
    stripe() {
      if (!gate) throw new Unavailable('Billing is switched off here.')
      if (home !== 'ours') throw new Unavailable('Billing is not ready. Try again later.')
      return gate
    },
  }
  const inbox = new Inbox(db)

  /** Nothing else would queue this work again soon: it fails, and is tried again, until we are ready. */
  const whenReady = (job: (payload: unknown) => Promise<void>) => async (payload: unknown) => {
    if (gate) parts.stripe()
    await job(payload)
  }

  async function startStandin(url: string): Promise<void> {
    standin = await StripeStandin.start({ file: join(config.DATA_DIR, 'stripe-standin.json'), follow: true })
    standin.delivery.to(`${url}/api/v1/payments/webhook`)
    secrets = [standin.webhookSecret]
    gate = openStripe({ key: standin.apiKey, base: standin.base, standin: true })
    log.info({ url: standin.base }, 'the Stripe stand-in listens')
  }

  /** Switches billing on once the key's home is known to be ours, and queues what waited. @returns whether we moved */
  async function enter(stripe: StripeGate | undefined, leave: Leave): Promise<boolean> {
    if (!stripe) throw new Unavailable('Billing is switched off here.')
    const moved = await settleHome(db, stripe, log, leave)
    if (home !== 'ours') Object.assign(due, { queue: true, prices: true })
    home = 'ours'
    if (!due.queue) return moved
    await requeueEvents(db, 0)
    await requeueForgets(db)
    due.queue = false
    return moved
  }

  async function adoptPrices({ sdk }: StripeGate): Promise<void> {
    try {
      await adoptConfiguredPrices(db, sdk, config, log)
      due.prices = false
    } catch (err) {
      log.error({ err }, 'the configured Stripe prices could not be read')
    }
  }

  /** Enters where we may, and switches billing off when the home is ours no more; then does what is still due. */
  async function checkHome(): Promise<void> {
    if (!gate) return
    try {
      await enter(gate, home === 'unknown' ? 'empty' : 'never')
    } catch (err) {
      if (err instanceof OtherHome && home === 'ours') home = 'left'
      if (home === 'ours')
        log.error({ err }, 'billing could not look at its home, or queue what waited: it is tried again')
      else log.error({ err }, 'billing is off: the Stripe key is not known to be the right one')
    }
    if (home === 'ours' && due.prices) await adoptPrices(gate)
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
      [TIDY_JOB]: whenReady(tidyJob(parts)),
      [FORGET_JOB]: forgetJob(parts),
      [REFUND_JOB]: refundJob(parts),
      [MAIL_JOB]: mailJob(parts),
      [LIFECYCLE_JOB]: lifecycleJob(parts),
      [SWEEP_JOB]: sweepJob(parts),
      [RECONCILE_JOB]: whenReady(reconcileJob(parts)),
    },
    schedule: [
      { cron: '* * * * *', job: LIFECYCLE_JOB },
      { cron: '23 3 * * *', job: RECONCILE_JOB },
      { cron: '41 4 * * *', job: SWEEP_JOB },
    ],
    enabled: () => parts.billingEnabled(),
    async syncPlans() {
      await enter(gate, 'never')
      const { sdk } = parts.stripe()
      // Prices that the operator made are taken first, so that no second one is made beside them.
      await adoptConfiguredPrices(db, sdk, config, log)
      return syncPrices(db, sdk)
    },
    async reconcile() {
      await enter(gate, 'never')
      return reconcile(parts)
    },
    move: () => enter(gate, 'any'),
    async start(url) {
      if (config.STRIPE_STANDIN) await startStandin(url)
      if (!gate) return
      if (secrets.length === 0)
        log.warn('STRIPE_WEBHOOK_SECRET is not set: webhooks are refused, payments are seen by the nightly comparison')
      clearInterval(timer)
      await checkHome()
      const look = () => checkHome().catch((err: unknown) => log.error({ err }, 'billing could not look at its home'))
      timer = setInterval(() => void look(), deps.homeCheckMs ?? HOME_CHECK_MS).unref()
    },
    standinUrl: () => standin?.base,
    async stop() {
      clearInterval(timer)
      await standin?.close()
    },
  }
}
