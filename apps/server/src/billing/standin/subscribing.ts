import { badParam, cardError, missing, StripeFailure } from './failure.ts'
import { draftInvoice, finalize, intentOf, voidInvoice, type Line } from './invoices.ts'
import { payInvoice } from './paying.ts'
import { DAY, periodEnd } from './period.ts'
import type { Store } from './store.ts'
import { assertTaxable, taxSetting } from './tax.ts'
import type { Price, Subscription } from './types.ts'
import type { World } from './world.ts'

export type Behaviour = 'allow_incomplete' | 'default_incomplete' | 'error_if_incomplete'
export type NewSubscription = {
  customer: string
  price: string
  method: string | null
  behaviour: Behaviour
  trialDays: number | null
  coupon: string | null
  automaticTax: boolean
  saveMethod: boolean
  metadata: Record<string, string>
}

const periodLine = (price: Price, start: number, end: number): Line => ({
  amount: price.unit_amount,
  start,
  end,
  description: `1 × ${price.id}`,
  price,
})

export function activePrice(store: Store, id: string, param: string): Price {
  const price = store.find('price', id)
  if (!price) throw missing('price', id, 400, param)
  if (!price.active) throw badParam(param, `The price specified is inactive. This field only accepts active prices.`)
  return price
}

function build(store: Store, wish: NewSubscription, price: Price): Subscription {
  const id = store.newId('subscription')
  const trialEnd = wish.trialDays === null ? null : store.now + wish.trialDays * DAY
  return {
    id,
    object: 'subscription',
    created: store.now,
    livemode: false,
    customer: wish.customer,
    status: trialEnd === null ? 'incomplete' : 'trialing',
    cancel_at_period_end: false,
    cancel_at: null,
    canceled_at: null,
    cancellation_details: { comment: null, feedback: null, reason: null },
    ended_at: null,
    trial_start: trialEnd === null ? null : store.now,
    trial_end: trialEnd,
    start_date: store.now,
    currency: price.currency,
    collection_method: 'charge_automatically',
    default_payment_method: wish.method,
    latest_invoice: null,
    pending_setup_intent: null,
    automatic_tax: { ...taxSetting(wish.automaticTax), disabled_reason: null },
    items: {
      object: 'list',
      has_more: false,
      url: `/v1/subscription_items?subscription=${id}`,
      data: [
        {
          id: `si_${id.slice(4)}`,
          object: 'subscription_item',
          created: store.now,
          current_period_start: store.now,
          current_period_end: trialEnd ?? periodEnd(store.now, price.recurring),
          price,
          quantity: 1,
          subscription: id,
          metadata: {},
        },
      ],
    },
    metadata: wish.metadata,
  }
}

export function itemOf(subscription: Subscription) {
  const [item] = subscription.items.data
  if (!item) throw new Error('a subscription without an item')
  return item
}

/** Starts a subscription and tries to collect its first invoice as `behaviour` says. */
export function subscribe(world: World, wish: NewSubscription): Subscription {
  const { store, emit } = world
  const customer = store.get('customer', wish.customer, 'customer')
  const price = activePrice(store, wish.price, 'items[0][price]')
  if (customer.currency !== null && customer.currency !== price.currency)
    throw badParam('currency', 'You cannot combine currencies on a single customer.')
  const method = wish.method ?? customer.invoice_settings.default_payment_method
  if (method === null && wish.behaviour !== 'default_incomplete' && wish.trialDays === null)
    throw missing(
      'payment source or default payment method for this customer',
      wish.customer,
      400,
      'default_payment_method',
    )
  if (wish.automaticTax) assertTaxable(store, customer, method)
  const subscription = build(store, wish, price)
  if (wish.behaviour === 'error_if_incomplete' && method !== null && store.state.behaviours[method] !== 'pays')
    throw cardError('card_declined', 'Your card was declined.')
  store.add(subscription)
  customer.currency = price.currency
  if (wish.coupon !== null) store.state.discounts[subscription.id] = { coupon: wish.coupon, used: false }
  if (wish.saveMethod) store.state.saves[subscription.id] = true
  const item = itemOf(subscription)
  const first = periodLine(price, item.current_period_start, item.current_period_end)
  const invoice = draftInvoice(world, subscription, 'subscription_create', [
    wish.trialDays === null ? first : { ...first, amount: 0, description: 'Trial period' },
  ])
  emit('customer.subscription.created', subscription)
  finalize(world, invoice)
  if (invoice.status === 'paid') {
    if (subscription.status === 'incomplete') {
      subscription.status = 'active'
      emit('customer.subscription.updated', subscription, { status: 'incomplete' })
    }
  } else if (wish.behaviour !== 'default_incomplete') payInvoice(world, invoice)
  return subscription
}

/** Ends it now. What is open stays owed, but nobody collects it. */
export function endSubscription(world: World, subscription: Subscription): void {
  const { store, emit } = world
  if (subscription.status === 'canceled' || subscription.status === 'incomplete_expired')
    throw missing('subscription', subscription.id)
  const unstarted = subscription.status === 'incomplete'
  subscription.status = 'canceled'
  subscription.canceled_at = store.now
  subscription.ended_at = store.now
  for (const invoice of store.all(
    'invoice',
    ({ parent, status }) =>
      parent.subscription_details.subscription === subscription.id && (status === 'open' || status === 'draft'),
  )) {
    if (unstarted || invoice.status === 'draft') voidInvoice(world, invoice)
    else {
      invoice.auto_advance = false
      invoice.next_payment_attempt = null
    }
  }
  emit('customer.subscription.deleted', subscription)
}

export type Proration = 'create_prorations' | 'none' | 'always_invoice'

/** Moves a subscription to another price: what is unused is credited, the rest charged, now or with the next invoice. */
export function changePrice(
  world: World,
  subscription: Subscription,
  priceId: string,
  proration: Proration,
  behaviour: Behaviour,
): void {
  const { store } = world
  const price = activePrice(store, priceId, 'items[0][price]')
  const item = itemOf(subscription)
  if (price.id === item.price.id) return
  if (price.currency !== subscription.currency)
    throw badParam('items[0][price]', 'You cannot change the currency of a subscription.')
  const left = (item.current_period_end - store.now) / (item.current_period_end - item.current_period_start)
  const old = item.price
  const paid = subscription.status === 'trialing' ? 0 : old.unit_amount
  const credit = proration === 'none' ? 0 : -Math.round(paid * left)
  const sameInterval =
    old.recurring.interval === price.recurring.interval &&
    old.recurring.interval_count === price.recurring.interval_count
  const before = structuredClone(item)
  item.price = price
  const lines: Line[] = [
    { amount: credit, start: store.now, end: item.current_period_end, description: 'Unused time', price: old },
  ]
  if (sameInterval || subscription.status === 'trialing') {
    const rest = proration === 'none' || subscription.status === 'trialing' ? 0 : Math.round(price.unit_amount * left)
    if (proration !== 'always_invoice') {
      store.state.pending[subscription.id] = (store.state.pending[subscription.id] ?? 0) + credit + rest
      return
    }
    lines.push({
      amount: rest,
      start: store.now,
      end: item.current_period_end,
      description: 'Remaining time',
      price,
    })
  } else {
    item.current_period_start = store.now
    item.current_period_end = periodEnd(store.now, price.recurring)
    lines.push(periodLine(price, item.current_period_start, item.current_period_end))
  }
  const method =
    subscription.default_payment_method ??
    store.get('customer', subscription.customer).invoice_settings.default_payment_method
  if (behaviour === 'error_if_incomplete' && (method === null || store.state.behaviours[method] !== 'pays')) {
    Object.assign(item, before)
    throw new StripeFailure(402, {
      type: 'card_error',
      code: 'card_declined',
      message: 'Your card was declined.',
      decline_code: 'generic_decline',
    })
  }
  const invoice = draftInvoice(world, subscription, 'subscription_update', lines)
  finalize(world, invoice)
  if (intentOf(store, invoice)) payInvoice(world, invoice)
}

/** The next period, with what changes in the middle of the last one left to pay. */
export const renewalLines = (store: Store, subscription: Subscription, start: number, end: number): Line[] => {
  const { price } = itemOf(subscription)
  const pending = store.state.pending[subscription.id] ?? 0
  delete store.state.pending[subscription.id]
  return [
    periodLine(price, start, end),
    ...(pending === 0 ? [] : [{ amount: pending, start, end: start, description: 'Changes', price }]),
  ]
}
