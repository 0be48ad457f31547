import { z } from 'zod'
import { endpoint, listEndpoint } from './endpoint.ts'
import { badParam } from './failure.ts'
import { f } from './form.ts'
import { intentOf } from './invoices.ts'
import { newMethod } from './methods.ts'
import { confirmIntent } from './money.ts'
import { DAY } from './period.ts'
import { activePrice, subscribe } from './subscribing.ts'
import { assertCheckoutTaxable, taxSetting } from './tax.ts'
import type { CardBehaviour, CheckoutSession } from './types.ts'
import type { World } from './world.ts'

/** Sessions of the hosted checkout. */
export const checkoutEndpoints = [
  endpoint(
    'POST',
    '/v1/checkout/sessions',
    {
      mode: z.literal('subscription'),
      customer: f.text,
      line_items: z.array(z.strictObject({ price: f.text, quantity: f.int })).length(1),
      success_url: f.url,
      cancel_url: f.url.optional(),
      client_reference_id: f.text.max(200).optional(),
      allow_promotion_codes: f.bool.optional(),
      automatic_tax: z.strictObject({ enabled: f.bool }).optional(),
      customer_update: z
        .strictObject({ address: z.enum(['auto', 'never']).optional(), name: z.enum(['auto', 'never']).optional() })
        .optional(),
      subscription_data: z
        .strictObject({ trial_period_days: f.int.optional(), metadata: f.metadata.optional() })
        .optional(),
      metadata: f.metadata.optional(),
    },
    ({ store, base }, params) => {
      const customer = store.get('customer', params.customer, 'customer')
      const price = activePrice(store, params.line_items[0]?.price ?? '', 'line_items[0][price]')
      const automaticTax = params.automatic_tax?.enabled ?? false
      const keepsAddress = params.customer_update?.address === 'auto'
      if (automaticTax) assertCheckoutTaxable(customer, keepsAddress)
      const id = store.newId('checkout.session')
      store.state.wishes[id] = {
        price: price.id,
        trialDays: params.subscription_data?.trial_period_days ?? null,
        metadata: params.subscription_data?.metadata ?? {},
        automaticTax,
        keepsAddress,
        promotionCodes: params.allow_promotion_codes ?? false,
      }
      return store.add<CheckoutSession>({
        id,
        object: 'checkout.session',
        created: store.now,
        livemode: false,
        mode: 'subscription',
        customer: params.customer,
        client_reference_id: params.client_reference_id ?? null,
        status: 'open',
        payment_status: 'unpaid',
        url: `${base()}/c/pay/${id}`,
        success_url: params.success_url,
        cancel_url: params.cancel_url ?? null,
        expires_at: store.now + DAY,
        currency: price.currency,
        subscription: null,
        invoice: null,
        automatic_tax: {
          ...taxSetting(automaticTax),
          provider: automaticTax ? 'stripe' : null,
          status: automaticTax ? (customer.address === null ? 'requires_location_inputs' : 'complete') : null,
        },
        metadata: params.metadata ?? {},
      })
    },
  ),
  listEndpoint(
    '/v1/checkout/sessions',
    'checkout.session',
    { customer: f.text.optional(), status: z.enum(['open', 'complete', 'expired']).optional() },
    (it, { customer, status }) =>
      (customer === undefined || it.customer === customer) && (status === undefined || it.status === status),
  ),
  endpoint('GET', '/v1/checkout/sessions/:id', {}, ({ store }, _params, [id = '']) =>
    store.get('checkout.session', id),
  ),
  endpoint('POST', '/v1/checkout/sessions/:id/expire', {}, ({ store, emit }, _params, [id = '']) => {
    const session = store.get('checkout.session', id)
    if (session.status !== 'open')
      throw badParam('id', 'Only Checkout Sessions with a status in ["open"] can be expired.', 'resource_invalid_state')
    session.status = 'expired'
    session.url = null
    emit('checkout.session.expired', session)
    return session
  }),
]

export type Card = { behaviour: CardBehaviour; last4: string }

/**
 * What 'Pay' on the hosted page does.
 * @returns whether it was completed; a refused card leaves the session open, a bank debit completes it unpaid
 */
export function completeCheckout(world: World, session: CheckoutSession, card: Card, code?: string): boolean {
  const { store, emit } = world
  const wish = store.state.wishes[session.id]
  if (session.status !== 'open' || !wish) throw badParam('id', 'This page is not open any more.')
  const promotion =
    code === undefined || !wish.promotionCodes
      ? undefined
      : store.all('promotion_code', (it) => it.active && it.code.toLowerCase() === code.toLowerCase())[0]
  if (code !== undefined && !promotion) throw badParam('code', 'This code is not valid.')
  if (card.behaviour === 'declines') return false
  const method = newMethod(store, card.behaviour, card.last4)
  method.customer = session.customer
  const customer = store.get('customer', session.customer)
  if (wish.keepsAddress) customer.address = { country: 'DE', postal_code: '10115' }
  const subscription = subscribe(world, {
    customer: session.customer,
    price: wish.price,
    method: method.id,
    behaviour: 'default_incomplete',
    trialDays: wish.trialDays,
    coupon: promotion?.promotion.coupon ?? null,
    automaticTax: wish.automaticTax,
    saveMethod: true,
    metadata: wish.metadata,
  })
  const invoice = store.get('invoice', subscription.latest_invoice ?? '')
  const intent = intentOf(store, invoice)
  if (intent) confirmIntent(world, intent, method.id, true)
  session.status = 'complete'
  if (session.automatic_tax.enabled) session.automatic_tax.status = 'complete'
  session.payment_status =
    invoice.amount_due === 0 ? 'no_payment_required' : invoice.status === 'paid' ? 'paid' : 'unpaid'
  session.subscription = subscription.id
  session.invoice = invoice.id
  session.url = null
  emit('checkout.session.completed', session)
  return true
}
