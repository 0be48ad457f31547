import type Stripe from 'stripe'
import type { Db, Sql } from '../platform/db/index.ts'
import { invalidField } from '../platform/errors.ts'
import type { Log } from '../platform/log.ts'
import type { BillingConfig, Parts } from './parts.ts'
import { isMissing } from './stripe.ts'
import { currentPrice, planById, setStripePrice, unknownPrices, type PlanPrice, type PlanRow } from './plan-store.ts'

/** A plan that can be bought now. @throws {InvalidInput} unknown, no longer sold, or free */
export async function plannedPurchase(db: Db, planId: string): Promise<PlanRow> {
  const plan = await planById(db, planId)
  if (!plan?.is_active) throw invalidField('plan_id', 'is not a plan that is sold')
  if (plan.billing_period === 'free') throw invalidField('plan_id', 'is free: there is nothing to pay')
  return plan
}

async function productOf(sdk: Stripe, plan: PlanRow): Promise<string> {
  const id = `prime_${plan.id}`
  try {
    const made = await sdk.products.create(
      { id, name: plan.name, metadata: { plan: plan.id } },
      { idempotencyKey: `product:${plan.id}` },
    )
    return made.id
  } catch (error) {
    const { code, type } = error as { code?: string; type?: string }
    // Made before, perhaps under another name.
    if (code === 'resource_already_exists' || type === 'StripeIdempotencyError') return id
    throw error
  }
}

/** Stripe's id of a price, made there when it does not know it yet. */
export async function stripePriceOf(db: Db, sdk: Stripe, price: PlanPrice): Promise<string> {
  if (price.stripe_price_id !== null) return price.stripe_price_id
  const plan = await planById(db, price.plan_id)
  if (!plan) throw new Error('a price without a plan')
  const product = await productOf(sdk, plan)
  const made = await sdk.prices.create(
    {
      product,
      currency: price.currency.toLowerCase(),
      unit_amount: price.amount_minor,
      recurring: { interval: plan.billing_period === 'yearly' ? 'year' : 'month' },
      metadata: { plan: plan.id, price: price.id },
    },
    { idempotencyKey: `price:${price.id}` },
  )
  await setStripePrice(db, price.id, made.id)
  return made.id
}

/** The price to charge. @throws {InvalidInput} the plan is not sold in this currency */
export async function priceIn(
  parts: Parts,
  plan: PlanRow,
  currency = plan.currency,
): Promise<PlanPrice & { stripe: string }> {
  const price = await currentPrice(parts.db, plan.id, currency)
  if (!price) throw invalidField('currency', `is not one that ${plan.name} is sold in`)
  return { ...price, stripe: await stripePriceOf(parts.db, parts.stripe().sdk, price) }
}

/** Makes every price that Stripe does not know yet. @returns how many */
export async function syncPrices(db: Sql, sdk: Stripe): Promise<number> {
  const missing = await unknownPrices(db)
  for (const price of missing) await stripePriceOf(db, sdk, price)
  return missing.length
}

/**
 * Prices that the operator made at Stripe, named by the environment, for the shipped plans. Each is taken once for every time
 * that it is newly named: whatever staff set after it stays through the next start.
 */
export async function adoptConfiguredPrices(db: Sql, sdk: Stripe, config: BillingConfig, log: Log): Promise<void> {
  const wanted = { premium_monthly: config.STRIPE_MONTHLY_PRICE_ID, premium_yearly: config.STRIPE_YEARLY_PRICE_ID }
  for (const [planId, stripeId] of Object.entries(wanted)) {
    if (stripeId === undefined) continue
    const [taken] = await db`select from plans where id = ${planId} and configured_price_id = ${stripeId}`
    if (taken) continue
    const price = await priceAt(sdk, stripeId)
    if (
      !price?.active ||
      price.unit_amount === null ||
      !isEvery(price, planId === 'premium_yearly' ? 'year' : 'month')
    ) {
      log.error({ plan: planId }, 'the configured Stripe price is no active price of that period: it is not used')
      continue
    }
    await adoptPrice(db, log, { planId, currency: price.currency.toUpperCase(), amount: price.unit_amount, stripeId })
  }
}

/** @returns undefined when there is none */
async function priceAt(sdk: Stripe, id: string): Promise<Stripe.Price | undefined> {
  try {
    return await sdk.prices.retrieve(id)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Twelve months are a year to Stripe's counting, too. */
const isEvery = ({ recurring }: Stripe.Price, interval: 'month' | 'year'): boolean =>
  (recurring?.interval === interval && recurring.interval_count === 1) ||
  (interval === 'year' && recurring?.interval === 'month' && recurring.interval_count === 12)

type Configured = { planId: string; currency: string; amount: number; stripeId: string }

/** Stripe's amount counts: what is shown is what is charged. The price it replaces stays for running subscriptions. */
async function adoptPrice(db: Sql, log: Log, { planId, currency, amount, stripeId }: Configured): Promise<void> {
  await db.begin(async (tx) => {
    const [other] = await tx`select from plan_prices where stripe_price_id = ${stripeId} and plan_id <> ${planId}`
    if (other) {
      log.error({ plan: planId }, 'the configured Stripe price is of another plan: it is not used')
      return
    }
    // Another instance that starts at the same moment takes it once, too.
    const [plan] = await tx`
      update plans
         set configured_price_id = ${stripeId}, price_minor = ${amount}, currency = ${currency}, updated_at = clock_timestamp()
       where id = ${planId} and price_minor > 0 and configured_price_id is distinct from ${stripeId}
      returning id`
    if (!plan) return
    await tx`update plan_prices set is_current = false where plan_id = ${planId} and currency = ${currency} and is_current`
    await tx`
      insert into plan_prices (id, plan_id, currency, amount_minor, stripe_price_id)
      values (gen_random_uuid(), ${planId}, ${currency}, ${amount}, ${stripeId})
      on conflict (stripe_price_id) do update set is_current = true`
  })
}
