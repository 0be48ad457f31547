import { badParam, cardError, missing } from './failure.ts'
import type { Store } from './store.ts'
import type { CardBehaviour, PaymentMethod } from './types.ts'

/** Stripe's documented test cards that this stand-in knows, by payment method id; the rest is refused. */
export const TEST_CARDS: Record<string, { behaviour: CardBehaviour; last4: string; refusedAtOnce?: boolean }> = {
  pm_card_visa: { behaviour: 'pays', last4: '4242' },
  pm_card_mastercard: { behaviour: 'pays', last4: '4444' },
  pm_card_chargeDeclined: { behaviour: 'declines', last4: '0002', refusedAtOnce: true },
  pm_card_chargeCustomerFail: { behaviour: 'declines', last4: '0341' },
  pm_card_authenticationRequired: { behaviour: 'asks', last4: '3184' },
}

/** A new card, or bank account, as Stripe.js would have made it from what a customer typed. */
export function newMethod(store: Store, behaviour: CardBehaviour, last4: string): PaymentMethod {
  const id = store.newId('payment_method')
  store.state.behaviours[id] = behaviour
  const isDebit = behaviour === 'pays-later' || behaviour === 'fails-later'
  const exp_year = new Date(store.now * 1000).getUTCFullYear() + 3
  return store.add<PaymentMethod>({
    id,
    object: 'payment_method',
    created: store.now,
    livemode: false,
    customer: null,
    ...(isDebit
      ? { type: 'sepa_debit', sepa_debit: { last4, country: 'DE' } }
      : { type: 'card', card: { brand: 'visa', last4, exp_month: 12, exp_year, country: 'US' } }),
  })
}

/** Resolves an id that a call names: a card we keep, or one of the documented test cards. */
export function methodOf(store: Store, id: string, param = 'payment_method'): PaymentMethod {
  const held = store.find('payment_method', id)
  if (held) return held
  const card = Object.hasOwn(TEST_CARDS, id) ? TEST_CARDS[id] : undefined
  if (!card) throw missing('PaymentMethod', id, 400, param)
  return newMethod(store, card.behaviour, card.last4)
}

/** Ties a card to a customer. @throws when it belongs to another, or its bank refuses it */
export function attach(store: Store, id: string, customer: string): PaymentMethod {
  store.get('customer', customer, 'customer')
  if (TEST_CARDS[id]?.refusedAtOnce) throw cardError('card_declined', 'Your card was declined.')
  const method = methodOf(store, id)
  if (method.customer !== null && method.customer !== customer)
    throw badParam(
      'payment_method',
      'The payment method you provided has already been attached to a customer.',
      'payment_method_already_attached',
    )
  method.customer = customer
  return method
}

/** The card that pays for a customer. @throws when it is another's */
export function ownMethod(store: Store, id: string, customer: string, param: string): PaymentMethod {
  const method = store.find('payment_method', id)
  if (!method) throw missing('PaymentMethod', id, 400, param)
  if (method.customer !== customer)
    throw badParam(param, `The customer does not have a payment method with the ID ${id}.`, 'resource_missing')
  return method
}
