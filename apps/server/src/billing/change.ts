import { maybeOne, one, type Db } from '../platform/db/index.ts'
import { Conflict, invalidField } from '../platform/errors.ts'
import { knownCustomer, type KnownCustomer } from './customers.ts'
import { assertMayPay } from './orders.ts'
import type { Parts } from './parts.ts'
import { plannedPurchase, priceIn } from './prices.ts'
import { asking } from './stripe.ts'
import { syncCustomer } from './sync.ts'

type Live = {
  id: string
  plan_id: string
  status: 'active' | 'past_due'
  auto_renew: boolean
  source: 'stripe' | 'grant' | 'voucher'
  stripe_subscription_id: string | null
  currency: string | null
}
type Own = { live: Live & { stripe_subscription_id: string }; customer: KnownCustomer }

const liveOf = (db: Db, userId: string): Promise<Live | undefined> =>
  maybeOne(db<Live[]>`
    select id, plan_id, status, auto_renew, source, stripe_subscription_id, currency from subscriptions
     where user_id = ${userId} and status in ('active', 'past_due')`)

/** Counts what we ask Stripe to change; two different wishes never share an idempotency key. */
export const nextAct = async (db: Db, subscriptionId: string): Promise<string> => {
  const { acts } = await one(db<{ acts: number }[]>`
    update subscriptions set acts = acts + 1 where id = ${subscriptionId} returning acts`)
  return `subscription:${subscriptionId}:${acts}`
}

/** The paid subscription of the caller. @throws {Conflict} there is none */
async function ownSubscription(parts: Parts, userId: string): Promise<Own> {
  const live = await liveOf(parts.db, userId)
  if (!live) throw new Conflict('You are on the free plan.')
  const customer = await knownCustomer(parts.db, userId)
  if (live.source !== 'stripe' || live.stripe_subscription_id === null || !customer)
    throw new Conflict('Your plan was given to you: it ends by itself and renews nothing.')
  return { live: { ...live, stripe_subscription_id: live.stripe_subscription_id }, customer }
}

/** At the end of the period; what is owed already is not collected any more, so a past-due one ends now. */
export async function cancelSubscription(parts: Parts, userId: string): Promise<void> {
  const { sdk } = parts.stripe()
  const { live, customer } = await ownSubscription(parts, userId)
  if (live.status === 'active' && !live.auto_renew) throw new Conflict('Your subscription is cancelled already.')
  const idempotencyKey = await nextAct(parts.db, live.id)
  await asking(async () => {
    if (live.status === 'past_due') await sdk.subscriptions.cancel(live.stripe_subscription_id, {}, { idempotencyKey })
    else await sdk.subscriptions.update(live.stripe_subscription_id, { cancel_at_period_end: true }, { idempotencyKey })
    await syncCustomer(parts, customer)
  })
}

/** Takes a cancellation back while the period still runs. */
export async function resumeSubscription(parts: Parts, userId: string): Promise<void> {
  const { sdk } = parts.stripe()
  const { live, customer } = await ownSubscription(parts, userId)
  if (live.status !== 'active' || live.auto_renew) throw new Conflict('There is no cancellation to take back.')
  const idempotencyKey = await nextAct(parts.db, live.id)
  await asking(async () => {
    await sdk.subscriptions.update(live.stripe_subscription_id, { cancel_at_period_end: false }, { idempotencyKey })
    await syncCustomer(parts, customer)
  })
}

/** A customer's own refund ends the subscription: a change beside it would only make credit of what goes back. */
async function assertNotGivenBack(db: Db, stripeId: string): Promise<void> {
  const [own] = await db`
    select from refunds r join payments p on p.id = r.payment_id
     where p.stripe_subscription_id = ${stripeId} and r.by_user and r.status <> 'failed'`
  if (own) throw new Conflict('You asked for your money back: this subscription ends.')
}

/**
 * Another plan from now on: what is unused of the old one is credited, the difference charged at once. A card that does
 * not pay leaves everything as it was.
 * @throws {InvalidInput} plan or card; {Conflict} nothing to change; {AppError} EMAIL_NOT_VERIFIED
 */
export async function changePlan(
  parts: Parts,
  { userId, isVerified }: { userId: string; isVerified: boolean },
  planId: string,
): Promise<void> {
  const { sdk } = parts.stripe()
  assertMayPay(parts, isVerified)
  const plan = await plannedPurchase(parts.db, planId)
  const { live, customer } = await ownSubscription(parts, userId)
  if (live.status === 'past_due') throw new Conflict('Your last payment is missing. Pay it first.')
  if (live.plan_id === plan.id) throw new Conflict('This is your plan already.')
  await assertNotGivenBack(parts.db, live.stripe_subscription_id)
  await asking(async () => {
    const { stripe: price, currency } = await priceIn(parts, plan, live.currency ?? undefined)
    if (live.currency !== null && currency !== live.currency)
      throw invalidField('plan_id', 'is not sold in your currency')
    const { items } = await sdk.subscriptions.retrieve(live.stripe_subscription_id)
    const [item] = items.data
    if (!item) throw new Error('a subscription of Stripe has no item')
    await sdk.subscriptions.update(
      live.stripe_subscription_id,
      {
        items: [{ id: item.id, price }],
        proration_behavior: 'always_invoice',
        payment_behavior: 'error_if_incomplete',
      },
      { idempotencyKey: await nextAct(parts.db, live.id) },
    )
    await syncCustomer(parts, customer)
  })
}
