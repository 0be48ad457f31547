import type Stripe from 'stripe'
import { invalidField } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import type { KnownCustomer } from './customers.ts'
import { askForOrder, assertMayPay, dropOrder, noteStripeId, openOrder, type Order, type Wanted } from './orders.ts'
import type { Parts } from './parts.ts'
import type { PlanRow } from './plan-store.ts'
import { plannedPurchase, priceIn } from './prices.ts'
import { asking, idOf, isMissing } from './stripe.ts'
import { syncCustomer } from './sync.ts'
import { customerOfUser } from './customers.ts'

export type Buyer = { userId: string; isVerified: boolean; idempotency: Idempotency | null }
export type Bought = { plan: string; status: string; client_secret: string | null; payment_intent_id: string | null }

const EXPAND = ['latest_invoice.confirmation_secret', 'latest_invoice.payments']

/** What the app needs to finish the payment; nulls when nothing is left. */
function openPayment(subscription: Stripe.Subscription): Pick<Bought, 'client_secret' | 'payment_intent_id'> {
  const invoice = subscription.latest_invoice
  if (subscription.status !== 'incomplete' || invoice === null || typeof invoice === 'string')
    return { client_secret: null, payment_intent_id: null }
  const payments = invoice.payments?.data ?? []
  const payment = payments.find(({ is_default }) => is_default) ?? payments[0]
  return {
    client_secret: invoice.confirmation_secret?.client_secret ?? null,
    payment_intent_id: idOf(payment?.payment.payment_intent),
  }
}

/** Trials look like any other active subscription from outside; one whose bank debit is under way gives nothing yet. */
function statusText({ status, latest_invoice: invoice }: Stripe.Subscription): string {
  if (status === 'active' && invoice !== null && typeof invoice !== 'string' && invoice.status === 'open')
    return 'processing'
  return status === 'trialing' ? 'active' : status
}

async function promotionId(parts: Parts, code: string): Promise<string> {
  const { data } = await asking(() => parts.stripe().sdk.promotionCodes.list({ code, active: true, limit: 1 }))
  const [found] = data
  if (!found) throw invalidField('promotion_code', 'is not a code that is valid now')
  return found.id
}

/** One trial per account. */
export async function trialDays(parts: Parts, userId: string, plan: PlanRow): Promise<number | undefined> {
  if (plan.trial_days === 0) return undefined
  const customer = await customerOfUser(parts.db, userId)
  return customer?.trial_used_at ? undefined : plan.trial_days
}

type Wish = {
  price: string
  method?: string | undefined
  promotion?: string | undefined
  trial?: number | undefined
  tax: boolean
}

function subscriptionParams(customer: KnownCustomer, order: Order, wish: Wish): Stripe.SubscriptionCreateParams {
  return {
    customer: customer.stripe_customer_id,
    items: [{ price: wish.price }],
    payment_behavior: order.kind === 'intent' ? 'default_incomplete' : 'allow_incomplete',
    payment_settings: { save_default_payment_method: 'on_subscription' },
    ...(wish.method === undefined ? {} : { default_payment_method: wish.method }),
    ...(wish.promotion === undefined ? {} : { discounts: [{ promotion_code: wish.promotion }] }),
    ...(wish.trial === undefined ? {} : { trial_period_days: wish.trial }),
    ...(wish.tax ? { automatic_tax: { enabled: true } } : {}),
    metadata: { order: order.id },
    expand: EXPAND,
  }
}

const GONE = new Set<Stripe.Subscription.Status>(['canceled', 'incomplete_expired'])

/**
 * Makes the subscription of an order, or finds it again. What an order began may have moved on since: it is read anew.
 * @returns undefined when the order's subscription is over and a new order is due
 */
async function subscriptionOf(
  parts: Parts,
  customer: KnownCustomer,
  order: Order,
  begun: boolean,
  wish: Wish,
): Promise<Stripe.Subscription | undefined> {
  const { sdk } = parts.stripe()
  const made = await askForOrder(parts, order.id, async () => {
    if (order.stripe_id !== null) return sdk.subscriptions.retrieve(order.stripe_id, { expand: EXPAND })
    let params = subscriptionParams(customer, order, wish)
    if (wish.method !== undefined) {
      const { id } = await sdk.paymentMethods.attach(
        wish.method,
        { customer: customer.stripe_customer_id },
        { idempotencyKey: `order:${order.id}:attach` },
      )
      await sdk.customers.update(
        customer.stripe_customer_id,
        { invoice_settings: { default_payment_method: id } },
        { idempotencyKey: `order:${order.id}:default` },
      )
      params = { ...params, default_payment_method: id }
    }
    const answer = await sdk.subscriptions.create(params, { idempotencyKey: `order:${order.id}:subscription` })
    await noteStripeId(parts.db, order.id, answer.id)
    return begun ? sdk.subscriptions.retrieve(answer.id, { expand: EXPAND }) : answer
  })
  if (!GONE.has(made.status)) return made
  await dropOrder(parts.db, order.id)
  return undefined
}

async function buy(
  parts: Parts,
  kind: 'subscribe' | 'intent',
  buyer: Buyer,
  plan: PlanRow,
  wish: Wish,
  paysAtOnce?: () => Promise<boolean>,
): Promise<Stripe.Subscription> {
  const wanted: Wanted = { kind, plan, wish: { kind, ...wish }, ...(paysAtOnce ? { paysAtOnce } : {}) }
  const { customer, order, begun } = await openOrder(parts, buyer.userId, wanted, buyer.idempotency)
  const found = await subscriptionOf(parts, customer, order, begun, wish)
  if (found) {
    await syncCustomer(parts, customer).catch((err: unknown) =>
      // The webhook's job will write it; the purchase itself stands.
      parts.log.warn({ err, customer: customer.id }, 'a purchase is not written yet'),
    )
    return found
  }
  return buy(parts, kind, { ...buyer, idempotency: null }, plan, wish, paysAtOnce)
}

async function methodOnFile(parts: Parts, userId: string): Promise<string> {
  const customer = await customerOfUser(parts.db, userId)
  const id = customer?.stripe_customer_id
  if (id) {
    const known = await asking(() => parts.stripe().sdk.customers.retrieve(id))
    const method = known.deleted ? null : idOf(known.invoice_settings.default_payment_method)
    if (method !== null) return method
  }
  throw invalidField('payment_method_id', 'is needed: there is no payment method on file')
}

/** Of other methods, banks may take days to say whether the money comes. */
async function isCard(parts: Parts, method: string): Promise<boolean> {
  try {
    return (await parts.stripe().sdk.paymentMethods.retrieve(method)).type === 'card'
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/**
 * Subscribes with a card that is given or on file.
 * @throws {InvalidInput} plan, card or code that does not do; {Conflict} something runs already; {Unavailable}
 */
export async function subscribe(
  parts: Parts,
  buyer: Buyer,
  body: { plan_id: string; payment_method_id?: string | undefined; promotion_code?: string | undefined },
): Promise<Bought> {
  parts.stripe()
  assertMayPay(parts, buyer.isVerified)
  const plan = await plannedPurchase(parts.db, body.plan_id)
  const method =
    body.payment_method_id ?? (buyer.idempotency?.found ? undefined : await methodOnFile(parts, buyer.userId))
  const paysAtOnce = async (): Promise<boolean> => method !== undefined && isCard(parts, method)
  const wish: Wish = {
    price: (await asking(() => priceIn(parts, plan))).stripe,
    method: body.payment_method_id,
    promotion: body.promotion_code === undefined ? undefined : await promotionId(parts, body.promotion_code),
    trial: await trialDays(parts, buyer.userId, plan),
    tax: parts.config.STRIPE_TAX,
  }
  const made = await asking(() => buy(parts, 'subscribe', buyer, plan, wish, paysAtOnce))
  return { plan: plan.id, status: statusText(made), ...openPayment(made) }
}

/** The intent of the first invoice, for an in-app card sheet. Without a trial: there is something to pay. */
export async function createIntent(
  parts: Parts,
  buyer: Buyer,
  body: { plan_id: string; currency?: string | undefined },
): Promise<{ client_secret: string | null; payment_intent_id: string | null }> {
  parts.stripe()
  assertMayPay(parts, buyer.isVerified)
  const plan = await plannedPurchase(parts.db, body.plan_id)
  const { stripe } = await asking(() => priceIn(parts, plan, body.currency))
  const made = await asking(() => buy(parts, 'intent', buyer, plan, { price: stripe, tax: parts.config.STRIPE_TAX }))
  return openPayment(made)
}
