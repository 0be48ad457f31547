import type { Store } from './store.ts'
import { taxed } from './tax.ts'
import type { Charge, Invoice, InvoiceLine, InvoicePayment, PaymentIntent, Price, Subscription } from './types.ts'
import { secretOf, type World } from './world.ts'

export type Line = { amount: number; start: number; end: number; description: string; price: Price }

const line = (store: Store, currency: string, { amount, start, end, description, price }: Line): InvoiceLine => ({
  id: `il_${store.nextNumber()}`,
  object: 'line_item',
  amount,
  currency,
  description,
  period: { start, end },
  pricing: {
    type: 'price_details',
    price_details: { price: price.id, product: price.product },
    unit_amount_decimal: String(price.unit_amount),
  },
})

/** What a coupon takes off. A `once` coupon is used up by the first invoice with an amount. */
function discounted(store: Store, subscription: Subscription, amount: number): number {
  const discount = store.state.discounts[subscription.id]
  if (!discount || discount.used || amount <= 0) return amount
  const coupon = store.get('coupon', discount.coupon)
  if (coupon.duration === 'once') discount.used = true
  const off = coupon.percent_off !== null ? Math.round((amount * coupon.percent_off) / 100) : (coupon.amount_off ?? 0)
  return Math.max(0, amount - off)
}

/** A draft for a subscription. One below zero becomes the customer's credit when it is finalized. */
export function draftInvoice(
  { store, emit }: World,
  subscription: Subscription,
  reason: Invoice['billing_reason'],
  lines: Line[],
): Invoice {
  const id = store.newId('invoice')
  const amount = discounted(
    store,
    subscription,
    lines.reduce((sum, { amount }) => sum + amount, 0),
  )
  const sums = taxed(amount, subscription.automatic_tax.enabled)
  const invoice = store.add<Invoice>({
    id,
    object: 'invoice',
    created: store.now,
    livemode: false,
    customer: subscription.customer,
    number: null,
    status: 'draft',
    billing_reason: reason,
    currency: subscription.currency,
    ...sums,
    amount_due: Math.max(0, sums.total),
    amount_paid: 0,
    amount_remaining: Math.max(0, sums.total),
    starting_balance: 0,
    ending_balance: null,
    attempt_count: 0,
    auto_advance: true,
    next_payment_attempt: null,
    period_start: store.now,
    period_end: store.now,
    hosted_invoice_url: null,
    invoice_pdf: null,
    parent: {
      type: 'subscription_details',
      subscription_details: { subscription: subscription.id, metadata: subscription.metadata },
    },
    lines: {
      object: 'list',
      data: lines.map((item) => line(store, subscription.currency, item)),
      has_more: false,
      url: `/v1/invoices/${id}/lines`,
    },
    status_transitions: { finalized_at: null, paid_at: null, voided_at: null },
    metadata: {},
  })
  subscription.latest_invoice = id
  emit('invoice.created', invoice)
  return invoice
}

/** Credit is below zero, as at Stripe. What an invoice uses up, or brings, is settled when it is finalized. */
function settleBalance(store: Store, invoice: Invoice): void {
  const customer = store.get('customer', invoice.customer)
  // A file of an earlier version knows no balance.
  const before = customer.balance || 0
  const due = invoice.total + before
  customer.balance = Math.min(0, due)
  invoice.starting_balance = before
  invoice.ending_balance = customer.balance
  invoice.amount_due = Math.max(0, due)
  invoice.amount_remaining = invoice.amount_due
}

/** Numbers the invoice and opens its payment; one with nothing due is paid at once. */
export function finalize({ store, emit, base }: World, invoice: Invoice): void {
  invoice.status = 'open'
  invoice.number = `STANDIN-${String(store.nextNumber()).padStart(6, '0')}`
  invoice.status_transitions.finalized_at = store.now
  invoice.hosted_invoice_url = `${base()}/i/${invoice.id}`
  invoice.invoice_pdf = `${base()}/i/${invoice.id}/pdf`
  settleBalance(store, invoice)
  emit('invoice.finalized', invoice)
  if (invoice.amount_due === 0) {
    invoice.status = 'paid'
    invoice.status_transitions.paid_at = store.now
    emit('invoice.paid', invoice)
    emit('invoice.payment_succeeded', invoice)
    return
  }
  const id = store.newId('payment_intent')
  const intent = store.add<PaymentIntent>({
    id,
    object: 'payment_intent',
    created: store.now,
    livemode: false,
    amount: invoice.amount_due,
    amount_received: 0,
    currency: invoice.currency,
    customer: invoice.customer,
    client_secret: secretOf(id),
    status: 'requires_payment_method',
    payment_method: null,
    latest_charge: null,
    last_payment_error: null,
    next_action: null,
    metadata: {},
  })
  store.add<InvoicePayment>({
    id: store.newId('invoice_payment'),
    object: 'invoice_payment',
    created: store.now,
    livemode: false,
    invoice: invoice.id,
    amount_requested: invoice.amount_due,
    amount_paid: null,
    currency: invoice.currency,
    is_default: true,
    status: 'open',
    payment: { type: 'payment_intent', payment_intent: id },
  })
  emit('payment_intent.created', intent)
}

export const paymentOf = (store: Store, invoice: Invoice): InvoicePayment | undefined =>
  store.all('invoice_payment', (payment) => payment.invoice === invoice.id)[0]

export function intentOf(store: Store, invoice: Invoice): PaymentIntent | undefined {
  const payment = paymentOf(store, invoice)
  return payment && store.get('payment_intent', payment.payment.payment_intent)
}

export function invoiceOf(store: Store, intent: PaymentIntent): Invoice | undefined {
  const payment = store.all('invoice_payment', ({ payment: { payment_intent } }) => payment_intent === intent.id)[0]
  return payment && store.get('invoice', payment.invoice)
}

const CHARGE_EVENT = { succeeded: 'charge.succeeded', pending: 'charge.pending', failed: 'charge.failed' } as const

/** How a charge went, on itself. */
export function concludeCharge({ emit }: World, charge: Charge, status: Charge['status']): void {
  const good = status === 'succeeded'
  Object.assign(charge, { status, paid: good, captured: good, amount_captured: good ? charge.amount : 0 })
  charge.failure_code = status === 'failed' ? 'card_declined' : null
  emit(CHARGE_EVENT[status], charge)
}

/** A charge of the intent's amount. */
export function chargeFor(world: World, intent: PaymentIntent, method: string, status: Charge['status']): Charge {
  const { store } = world
  const charge = store.add<Charge>({
    id: store.newId('charge'),
    object: 'charge',
    created: store.now,
    livemode: false,
    amount: intent.amount,
    amount_captured: 0,
    amount_refunded: 0,
    currency: intent.currency,
    customer: intent.customer,
    payment_intent: intent.id,
    payment_method: method,
    paid: false,
    captured: false,
    refunded: false,
    disputed: false,
    status,
    failure_code: null,
    metadata: {},
  })
  intent.latest_charge = charge.id
  concludeCharge(world, charge, status)
  return charge
}

/** Nobody can pay it any more. */
export function voidInvoice({ store, emit }: World, invoice: Invoice): void {
  if (invoice.status !== 'open' && invoice.status !== 'draft') return
  invoice.status = 'void'
  invoice.status_transitions.voided_at = store.now
  invoice.next_payment_attempt = null
  const intent = intentOf(store, invoice)
  if (intent && intent.status !== 'succeeded') intent.status = 'canceled'
  const payment = paymentOf(store, invoice)
  if (payment) payment.status = 'canceled'
  emit('invoice.voided', invoice)
}
