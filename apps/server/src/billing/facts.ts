import type Stripe from 'stripe'
import { idOf, isMissing } from './stripe.ts'

/** What Stripe says of a customer at one moment, as far as it decides anything here. Times are Dates, money minor units. */
export type SubscriptionFact = {
  id: string
  status: Stripe.Subscription.Status
  created: Date
  itemId: string
  priceId: string
  amount: number
  currency: string
  periodStart: Date
  periodEnd: Date
  cancelAt: Date | null
  endedAt: Date | null
  trialEnd: Date | null
  order: string | null
  /** We ended it, because its order was given up before it was paid. */
  abandoned: boolean
}
export type InvoiceFact = {
  id: string
  subscription: string | null
  status: 'draft' | 'open' | 'paid' | 'uncollectible' | 'void'
  renewal: boolean
  created: Date
  paidAt: Date | null
  number: string | null
  total: number
  paid: number
  currency: string
  periodStart: Date
  periodEnd: Date
  intent: string | null
}
export type RefundFact = {
  id: string
  amount: number
  status: 'pending' | 'succeeded' | 'failed'
  created: Date
  /** Of one that we made ourselves, why (`Act`). */
  reason: string
  /** Our own record that asked for it. */
  ours: string | null
  /** It was a customer's own wish, which ends the subscription. */
  ends: boolean
}
export type ChargeFact = {
  id: string
  intent: string
  amount: number
  refunded: number
  disputed: boolean
  created: Date
  currency: string
  refunds: RefundFact[]
}
export type Facts = { subscriptions: SubscriptionFact[]; invoices: InvoiceFact[]; charges: ChargeFact[] }

/** What we note at Stripe when we end a subscription whose order was given up. */
export const ABANDONED = 'abandoned order'

const at = (seconds: number): Date => new Date(seconds * 1000)
const atOrNull = (seconds: number | null | undefined): Date | null =>
  seconds === null || seconds === undefined ? null : at(seconds)

export function subscriptionFact(it: Stripe.Subscription): SubscriptionFact {
  const [item] = it.items.data
  if (!item) throw new Error('a subscription of Stripe has no item')
  return {
    id: it.id,
    status: it.status,
    created: at(it.created),
    itemId: item.id,
    priceId: item.price.id,
    amount: item.price.unit_amount ?? 0,
    currency: item.price.currency.toUpperCase(),
    periodStart: at(item.current_period_start),
    periodEnd: at(item.current_period_end),
    cancelAt: it.cancel_at === null ? (it.cancel_at_period_end ? at(item.current_period_end) : null) : at(it.cancel_at),
    endedAt: atOrNull(it.ended_at),
    trialEnd: atOrNull(it.trial_end),
    order: it.metadata.order ?? null,
    abandoned: it.cancellation_details?.comment === ABANDONED,
  }
}

/** The period an invoice pays for: that of its latest line. */
function periodOf(it: Stripe.Invoice): { start: number; end: number } {
  const last = it.lines.data.toSorted((a, b) => b.period.end - a.period.end)[0]
  return last?.period ?? { start: it.period_start, end: it.period_end }
}

function invoiceFact(it: Stripe.Invoice): InvoiceFact {
  const period = periodOf(it)
  const payments = it.payments?.data ?? []
  const payment = payments.find(({ status }) => status === 'paid') ?? payments.find(({ is_default }) => is_default)
  return {
    id: it.id,
    subscription: idOf(it.parent?.subscription_details?.subscription),
    status: (it.status ?? 'draft') as InvoiceFact['status'],
    renewal: it.billing_reason === 'subscription_cycle',
    created: at(it.created),
    paidAt: atOrNull(it.status_transitions.paid_at),
    number: it.number,
    total: it.total,
    paid: it.amount_paid,
    currency: it.currency.toUpperCase(),
    periodStart: at(period.start),
    periodEnd: at(period.end),
    intent: idOf(payment?.payment.payment_intent),
  }
}

const REFUND_STATUS: Record<string, RefundFact['status']> = {
  succeeded: 'succeeded',
  failed: 'failed',
  canceled: 'failed',
}

function chargeFact(it: Stripe.Charge): ChargeFact | undefined {
  const intent = idOf(it.payment_intent)
  if (!it.paid || intent === null) return undefined
  return {
    id: it.id,
    intent,
    amount: it.amount,
    refunded: it.amount_refunded,
    disputed: it.disputed,
    created: at(it.created),
    currency: it.currency.toUpperCase(),
    refunds: (it.refunds?.data ?? []).map((refund) => ({
      id: refund.id,
      amount: refund.amount,
      status: REFUND_STATUS[refund.status ?? ''] ?? 'pending',
      created: at(refund.created),
      reason: refund.metadata?.why ?? refund.reason ?? 'refunded by the operator',
      ours: refund.metadata?.refund ?? null,
      ends: refund.metadata?.ends === 'subscription',
    })),
  }
}

const PAGE = 100
/** More than a customer can have; a list that is longer is a fault. */
const MOST = 2_000

async function subscriptionsOf(sdk: Stripe, customer: string, known: readonly string[]): Promise<SubscriptionFact[]> {
  const listed = await sdk.subscriptions
    .list({ customer, status: 'all', limit: PAGE })
    .autoPagingToArray({ limit: MOST })
  const found = listed.map(subscriptionFact)
  for (const id of known) {
    if (found.some((it) => it.id === id)) continue
    // A list may lag; the object itself does not.
    try {
      found.push(subscriptionFact(await sdk.subscriptions.retrieve(id)))
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }
  return found
}

/**
 * Reads a customer's present state. Subscriptions first: what is read after them is newer, so that a paid invoice is
 * never missing for a subscription that is already active.
 * @param known subscriptions of ours that must be looked at even when the list leaves them out
 */
export async function fetchFacts(sdk: Stripe, customer: string, known: readonly string[]): Promise<Facts> {
  const subscriptions = await subscriptionsOf(sdk, customer, known)
  const [invoices, charges] = await Promise.all([
    sdk.invoices.list({ customer, limit: PAGE, expand: ['data.payments'] }).autoPagingToArray({ limit: MOST }),
    sdk.charges.list({ customer, limit: PAGE, expand: ['data.refunds'] }).autoPagingToArray({ limit: MOST }),
  ])
  return {
    subscriptions,
    invoices: invoices.map(invoiceFact),
    charges: charges.map(chargeFact).filter((it) => it !== undefined),
  }
}
