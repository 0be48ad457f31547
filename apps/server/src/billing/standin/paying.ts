import { chargeFor, concludeCharge, intentOf, invoiceOf, paymentOf } from './invoices.ts'
import { DAY } from './period.ts'
import type { Invoice, PaymentIntent, Subscription } from './types.ts'
import type { World } from './world.ts'

/** Days after the invoice on which a failed renewal is tried again; after the last the subscription ends. */
export const RETRY_AFTER_DAYS = [3, 5, 7]

/** Days until a bank debit has come or failed. */
const DEBIT_DAYS = 3

export type Outcome = 'paid' | 'declined' | 'asks' | 'waits'

const subscriptionOf = ({ store }: World, invoice: Invoice): Subscription =>
  store.get('subscription', invoice.parent.subscription_details.subscription)

function settle(world: World, invoice: Invoice, intent: PaymentIntent): void {
  const { store, emit } = world
  intent.status = 'succeeded'
  intent.amount_received = intent.amount
  intent.last_payment_error = null
  intent.next_action = null
  const payment = paymentOf(store, invoice)
  if (payment) {
    payment.status = 'paid'
    payment.amount_paid = intent.amount
  }
  invoice.status = 'paid'
  invoice.amount_paid = invoice.amount_due
  invoice.amount_remaining = 0
  invoice.next_payment_attempt = null
  invoice.status_transitions.paid_at = store.now
  emit('payment_intent.succeeded', intent)
  emit('invoice.paid', invoice)
  emit('invoice.payment_succeeded', invoice)
  const subscription = subscriptionOf(world, invoice)
  const before = subscription.status
  const owes = store.all(
    'invoice',
    (other) => other.status === 'open' && other.parent.subscription_details.subscription === subscription.id,
  )
  if (['incomplete', 'past_due', 'unpaid'].includes(before) && owes.length === 0) {
    subscription.status = 'active'
    emit('customer.subscription.updated', subscription, { status: before })
  }
}

function fail(world: World, invoice: Invoice, intent: PaymentIntent): void {
  const { store, emit } = world
  intent.status = 'requires_payment_method'
  intent.last_payment_error = { type: 'card_error', code: 'card_declined', message: 'Your card was declined.' }
  const next = RETRY_AFTER_DAYS.map((days) => invoice.created + days * DAY).find((at) => at > store.now)
  invoice.next_payment_attempt = invoice.billing_reason === 'subscription_cycle' ? (next ?? null) : null
  emit('payment_intent.payment_failed', intent)
  emit('invoice.payment_failed', invoice)
  pastDue(world, invoice)
}

function pastDue(world: World, invoice: Invoice): void {
  const subscription = subscriptionOf(world, invoice)
  if (subscription.status !== 'active' && subscription.status !== 'trialing') return
  const before = subscription.status
  subscription.status = 'past_due'
  world.emit('customer.subscription.updated', subscription, { status: before })
}

/** A bank debit is under way: as at Stripe the subscription is `active` already, its invoice still open. */
function startDebit(world: World, invoice: Invoice, intent: PaymentIntent, method: string): void {
  const { store, emit } = world
  intent.status = 'processing'
  intent.next_action = null
  invoice.next_payment_attempt = null
  store.state.processing[intent.id] = store.now + DEBIT_DAYS * DAY
  chargeFor(world, intent, method, 'pending')
  emit('payment_intent.processing', intent)
  const subscription = subscriptionOf(world, invoice)
  if (subscription.status !== 'incomplete') return
  subscription.status = 'active'
  emit('customer.subscription.updated', subscription, { status: 'incomplete' })
}

/** The bank's answer to a debit: the money came, or it did not. */
export function endDebit(world: World, intent: PaymentIntent): void {
  const { store, emit } = world
  delete store.state.processing[intent.id]
  const invoice = invoiceOf(store, intent)
  if (!invoice || intent.status !== 'processing') return
  const isGood = store.state.behaviours[intent.payment_method ?? ''] === 'pays-later'
  const debit = store.get('charge', intent.latest_charge ?? '')
  concludeCharge(world, debit, isGood ? 'succeeded' : 'failed')
  if (isGood) settle(world, invoice, intent)
  else fail(world, invoice, intent)
  for (const session of store.all('checkout.session', (it) => it.invoice === invoice.id)) {
    if (isGood) session.payment_status = 'paid'
    emit(isGood ? 'checkout.session.async_payment_succeeded' : 'checkout.session.async_payment_failed', session)
  }
}

/**
 * Charges a card for an intent, as its test card behaves.
 * @param present the customer sits in front of the page and can answer the bank's question
 */
export function charge(world: World, intent: PaymentIntent, method: string, present: boolean): Outcome {
  const { store, emit, base } = world
  const invoice = invoiceOf(store, intent)
  if (!invoice) throw new Error('an intent without an invoice')
  const behaviour = store.state.behaviours[method] ?? 'pays'
  intent.payment_method = method
  invoice.attempt_count++
  if (behaviour === 'asks' && !present) {
    intent.status = 'requires_action'
    intent.next_action = {
      type: 'redirect_to_url',
      redirect_to_url: { url: `${base()}/auth/${intent.id}`, return_url: null },
    }
    emit('payment_intent.requires_action', intent)
    emit('invoice.payment_action_required', invoice)
    pastDue(world, invoice)
    return 'asks'
  }
  if (behaviour === 'pays-later' || behaviour === 'fails-later') {
    startDebit(world, invoice, intent, method)
    return 'waits'
  }
  chargeFor(world, intent, method, behaviour === 'declines' ? 'failed' : 'succeeded')
  if (behaviour === 'declines') {
    fail(world, invoice, intent)
    return 'declined'
  }
  settle(world, invoice, intent)
  return 'paid'
}

/** Charges the card on file for an open invoice. */
export function payInvoice(world: World, invoice: Invoice): Outcome {
  const { store } = world
  const intent = intentOf(store, invoice)
  if (!intent) return 'paid'
  const subscription = subscriptionOf(world, invoice)
  const customer = store.get('customer', invoice.customer)
  const method = subscription.default_payment_method ?? customer.invoice_settings.default_payment_method
  if (method === null) {
    invoice.attempt_count++
    fail(world, invoice, intent)
    return 'declined'
  }
  return charge(world, intent, method, false)
}
