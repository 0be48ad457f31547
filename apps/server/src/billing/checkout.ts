import { invalidField, InvalidInput } from '../platform/errors.ts'
import { askForOrder, assertMayPay, noteStripeId, openOrder } from './orders.ts'
import type { Parts } from './parts.ts'
import { listPlans, type PlanRow } from './plan-store.ts'
import { plannedPurchase, priceIn } from './prices.ts'
import { trialDays, type Buyer } from './purchase.ts'
import { asking } from './stripe.ts'

export type CheckoutWish = {
  plan_type?: 'monthly' | 'yearly' | undefined
  plan_id?: string | undefined
  currency?: string | undefined
  success_url: string
  cancel_url: string
}

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

/** Our own origins; on one's own machine a browser may call it by any of its names. */
function ownOrigins(parts: Parts): string[] {
  const own = new URL(parts.publicUrl)
  const names = LOOPBACK.includes(own.hostname) ? LOOPBACK : [own.hostname]
  return [
    ...names.map((name) => `${own.protocol}//${name}${own.port === '' ? '' : `:${own.port}`}`),
    ...parts.config.CORS_ORIGINS,
  ]
}

/** Where a page of Stripe's may send a browser back to: our own web app, or an app of an allowed origin. */
export function assertOwnUrl(parts: Parts, field: string, text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isOurs =
    url && /^https?:$/.test(url.protocol) && !url.username && !url.password && ownOrigins(parts).includes(url.origin)
  if (!isOurs) throw invalidField(field, 'must lead to an origin of this service')
}

async function wantedPlan(parts: Parts, { plan_id, plan_type }: CheckoutWish): Promise<PlanRow> {
  if ((plan_id === undefined) === (plan_type === undefined))
    throw new InvalidInput([{ field: 'plan_id', message: 'either plan_id or plan_type is needed' }])
  if (plan_id !== undefined) return plannedPurchase(parts.db, plan_id)
  const found = (await listPlans(parts.db)).find(({ billing_period }) => billing_period === plan_type)
  if (!found) throw invalidField('plan_type', 'is not a plan that is sold')
  return found
}

/**
 * A page of Stripe's where the plan is paid.
 * @throws {InvalidInput} plan, currency or a foreign address; {Conflict} something runs already; {Unavailable}
 */
export async function createCheckout(parts: Parts, buyer: Buyer, body: CheckoutWish) {
  const { sdk } = parts.stripe()
  assertMayPay(parts, buyer.isVerified)
  assertOwnUrl(parts, 'success_url', body.success_url)
  assertOwnUrl(parts, 'cancel_url', body.cancel_url)
  const plan = await wantedPlan(parts, body)
  const { stripe: price } = await asking(() => priceIn(parts, plan, body.currency))
  const trial = await trialDays(parts, buyer.userId, plan)
  const tax = parts.config.STRIPE_TAX
  const { success_url, cancel_url } = body
  const wish = { kind: 'checkout', price, trial, tax, success_url, cancel_url }
  const { customer, order } = await asking(() =>
    openOrder(parts, buyer.userId, { kind: 'checkout', plan, wish }, buyer.idempotency),
  )
  const session = await askForOrder(parts, order.id, () =>
    sdk.checkout.sessions.create(
      {
        mode: 'subscription',
        customer: customer.stripe_customer_id,
        line_items: [{ price, quantity: 1 }],
        success_url,
        cancel_url,
        client_reference_id: order.id,
        allow_promotion_codes: true,
        subscription_data: {
          metadata: { order: order.id },
          ...(trial === undefined ? {} : { trial_period_days: trial }),
        },
        ...(tax ? { automatic_tax: { enabled: true }, customer_update: { address: 'auto' as const } } : {}),
        metadata: { order: order.id },
      },
      { idempotencyKey: `order:${order.id}:session` },
    ),
  )
  await noteStripeId(parts.db, order.id, session.id)
  return { checkout_url: session.url ?? '', client_secret: null, payment_intent_id: null, session_id: session.id }
}
