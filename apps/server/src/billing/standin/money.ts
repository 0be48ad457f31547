import { z } from 'zod'
import { endpoint, listEndpoint } from './endpoint.ts'
import { badParam, cardError } from './failure.ts'
import { f } from './form.ts'
import { intentOf, invoiceOf, voidInvoice } from './invoices.ts'
import { attach, methodOf } from './methods.ts'
import { charge, payInvoice } from './paying.ts'
import type { Charge, Dispute, PaymentIntent, Refund } from './types.ts'
import type { World } from './world.ts'

/** The card stays with the customer, and with the subscription that asked for it. */
export function keepMethod({ store }: World, intent: PaymentIntent, method: string): void {
  const invoice = invoiceOf(store, intent)
  const subscription = invoice && store.find('subscription', invoice.parent.subscription_details.subscription)
  if (!subscription) return
  attach(store, method, intent.customer)
  if (store.state.saves[subscription.id]) subscription.default_payment_method ??= method
}

/** What confirming an intent does, from the API or from one of the stand-in's own pages. */
export function confirmIntent(
  world: World,
  intent: PaymentIntent,
  given: string | undefined,
  present: boolean,
): PaymentIntent {
  if (intent.status === 'succeeded' || intent.status === 'canceled' || intent.status === 'processing')
    throw badParam(
      'intent',
      `You cannot confirm this PaymentIntent because it has a status of ${intent.status}.`,
      'payment_intent_unexpected_state',
    )
  const wanted = given ?? intent.payment_method
  if (wanted === null || wanted === undefined)
    throw badParam(
      'payment_method',
      'You cannot confirm this PaymentIntent because it is missing a payment method.',
      'payment_intent_unexpected_state',
    )
  const method = methodOf(world.store, wanted)
  if (method.customer !== null && method.customer !== intent.customer)
    throw badParam('payment_method', 'The PaymentMethod does not belong to the Customer of this PaymentIntent.')
  const outcome = charge(world, intent, method.id, present)
  if (outcome === 'paid' || outcome === 'waits') keepMethod(world, intent, method.id)
  return intent
}

function refund(
  world: World,
  paid: Charge,
  amount: number,
  reason: Refund['reason'],
  metadata: Record<string, string>,
) {
  const { store, emit } = world
  if (!paid.paid) throw badParam('charge', 'This charge has not been paid.', 'charge_not_refundable')
  if (paid.disputed) throw badParam('charge', 'This charge has been disputed.', 'charge_disputed')
  const left = paid.amount - paid.amount_refunded
  if (left === 0) throw badParam('charge', `Charge ${paid.id} has already been refunded.`, 'charge_already_refunded')
  if (amount < 1) throw badParam('amount', 'This value must be greater than or equal to 1.')
  if (amount > left)
    throw badParam('amount', `Refund amount (${amount}) is greater than unrefunded amount on charge (${left})`)
  const made = store.add<Refund>({
    id: store.newId('refund'),
    object: 'refund',
    created: store.now,
    amount,
    currency: paid.currency,
    charge: paid.id,
    payment_intent: paid.payment_intent,
    reason,
    status: 'succeeded',
    metadata,
  })
  paid.amount_refunded += amount
  paid.refunded = paid.amount_refunded === paid.amount
  emit('refund.created', made)
  emit('charge.refunded', paid)
  return made
}

/** A customer's bank takes the money back. */
export function dispute({ store, emit }: World, chargeId: string): Dispute {
  const disputed = store.get('charge', chargeId)
  disputed.disputed = true
  const made = store.add<Dispute>({
    id: store.newId('dispute'),
    object: 'dispute',
    created: store.now,
    livemode: false,
    amount: disputed.amount,
    currency: disputed.currency,
    charge: disputed.id,
    payment_intent: disputed.payment_intent,
    reason: 'fraudulent',
    status: 'needs_response',
  })
  emit('charge.dispute.created', made)
  return made
}

/** Invoices, intents, charges and refunds. */
export const moneyEndpoints = [
  listEndpoint(
    '/v1/invoices',
    'invoice',
    {
      customer: f.text.optional(),
      subscription: f.text.optional(),
      status: z.enum(['draft', 'open', 'paid', 'uncollectible', 'void']).optional(),
    },
    (it, { customer, subscription, status }) =>
      (customer === undefined || it.customer === customer) &&
      (subscription === undefined || it.parent.subscription_details.subscription === subscription) &&
      (status === undefined || it.status === status),
  ),
  endpoint('GET', '/v1/invoices/:id', {}, ({ store }, _params, [id = '']) => store.get('invoice', id)),
  endpoint('POST', '/v1/invoices/:id/pay', { payment_method: f.text.optional() }, (world, _params, [id = '']) => {
    const invoice = world.store.get('invoice', id)
    if (invoice.status !== 'open') throw badParam('id', 'Invoice is not open.', 'invoice_not_editable')
    payInvoice(world, invoice)
    return invoice
  }),
  endpoint('POST', '/v1/invoices/:id/void', {}, (world, _params, [id = '']) => {
    const { store } = world
    const invoice = store.get('invoice', id)
    if (invoice.status !== 'open' || intentOf(store, invoice)?.status === 'processing')
      throw badParam('id', 'You can only void an invoice that is open and not being paid.', 'invoice_not_editable')
    voidInvoice(world, invoice)
    return invoice
  }),
  endpoint('GET', '/v1/payment_intents/:id', {}, ({ store }, _params, [id = '']) => store.get('payment_intent', id)),
  endpoint(
    'POST',
    '/v1/payment_intents/:id/confirm',
    { payment_method: f.text.optional(), return_url: f.url.optional() },
    (world, { payment_method }, [id = '']) => {
      const intent = confirmIntent(world, world.store.get('payment_intent', id), payment_method, false)
      if (intent.status === 'requires_payment_method') throw cardError('card_declined', 'Your card was declined.')
      return intent
    },
  ),
  listEndpoint(
    '/v1/charges',
    'charge',
    { customer: f.text.optional(), payment_intent: f.text.optional() },
    (it, { customer, payment_intent }) =>
      (customer === undefined || it.customer === customer) &&
      (payment_intent === undefined || it.payment_intent === payment_intent),
  ),
  endpoint('GET', '/v1/charges/:id', {}, ({ store }, _params, [id = '']) => store.get('charge', id)),
  endpoint(
    'POST',
    '/v1/refunds',
    {
      charge: f.text.optional(),
      payment_intent: f.text.optional(),
      amount: f.int.optional(),
      reason: z.enum(['duplicate', 'fraudulent', 'requested_by_customer']).optional(),
      metadata: f.metadata.optional(),
    },
    (world, { charge: chargeId, payment_intent, amount, reason = null, metadata = {} }) => {
      const { store } = world
      if ((chargeId === undefined) === (payment_intent === undefined))
        throw badParam('charge', 'Exactly one of charge and payment_intent is needed.', 'parameter_missing')
      const intent =
        payment_intent === undefined ? undefined : store.get('payment_intent', payment_intent, 'payment_intent')
      const paid = store.get('charge', chargeId ?? intent?.latest_charge ?? '', 'charge')
      return refund(world, paid, amount ?? paid.amount - paid.amount_refunded, reason, metadata)
    },
  ),
  endpoint('GET', '/v1/refunds/:id', {}, ({ store }, _params, [id = '']) => store.get('refund', id)),
  endpoint('GET', '/v1/disputes/:id', {}, ({ store }, _params, [id = '']) => store.get('dispute', id)),
  listEndpoint(
    '/v1/refunds',
    'refund',
    { charge: f.text.optional(), payment_intent: f.text.optional() },
    (it, { charge: chargeId, payment_intent }) =>
      (chargeId === undefined || it.charge === chargeId) &&
      (payment_intent === undefined || it.payment_intent === payment_intent),
  ),
]
