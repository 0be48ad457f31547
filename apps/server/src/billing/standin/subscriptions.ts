import { z } from 'zod'
import { endpoint, listEndpoint } from './endpoint.ts'
import { badParam, missing } from './failure.ts'
import { f } from './form.ts'
import { ownMethod } from './methods.ts'
import { DAY } from './period.ts'
import { changePrice, endSubscription, itemOf, subscribe } from './subscribing.ts'
import type { Store } from './store.ts'

const Tax = z.strictObject({ enabled: f.bool })
const Discounts = z.array(z.strictObject({ promotion_code: f.text.optional(), coupon: f.text.optional() })).max(1)
const PaymentBehavior = z.enum(['allow_incomplete', 'default_incomplete', 'error_if_incomplete'])
const Proration = z.enum(['create_prorations', 'none', 'always_invoice'])

function couponOf(store: Store, discounts: z.infer<typeof Discounts> | undefined): string | null {
  const [discount] = discounts ?? []
  if (!discount) return null
  if (discount.promotion_code !== undefined) {
    const code = store.get('promotion_code', discount.promotion_code, 'discounts[0][promotion_code]')
    if (!code.active) throw badParam('discounts[0][promotion_code]', 'This promotion code is inactive.')
    return code.promotion.coupon
  }
  if (discount.coupon === undefined)
    throw badParam('discounts[0]', 'A coupon or promotion code is needed.', 'parameter_missing')
  return store.get('coupon', discount.coupon, 'discounts[0][coupon]').id
}

/** Subscriptions: start, read, change, end. */
export const subscriptionEndpoints = [
  endpoint(
    'POST',
    '/v1/subscriptions',
    {
      customer: f.text,
      items: z.array(z.strictObject({ price: f.text, quantity: f.int.optional() })).length(1),
      default_payment_method: f.text.optional(),
      payment_behavior: PaymentBehavior.optional(),
      payment_settings: z
        .strictObject({ save_default_payment_method: z.enum(['off', 'on_subscription']).optional() })
        .optional(),
      trial_period_days: f.int.optional(),
      discounts: Discounts.optional(),
      automatic_tax: Tax.optional(),
      off_session: f.bool.optional(),
      metadata: f.metadata.optional(),
    },
    ({ store, ...world }, params) => {
      if (params.default_payment_method !== undefined)
        ownMethod(store, params.default_payment_method, params.customer, 'default_payment_method')
      return subscribe(
        { store, ...world },
        {
          customer: params.customer,
          price: params.items[0]?.price ?? '',
          method: params.default_payment_method ?? null,
          behaviour: params.payment_behavior ?? 'allow_incomplete',
          trialDays: params.trial_period_days ?? null,
          coupon: couponOf(store, params.discounts),
          automaticTax: params.automatic_tax?.enabled ?? false,
          saveMethod: params.payment_settings?.save_default_payment_method === 'on_subscription',
          metadata: params.metadata ?? {},
        },
      )
    },
  ),
  listEndpoint(
    '/v1/subscriptions',
    'subscription',
    { customer: f.text.optional(), status: f.text.optional(), price: f.text.optional() },
    (it, { customer, status, price }) =>
      (customer === undefined || it.customer === customer) &&
      (price === undefined || itemOf(it).price.id === price) &&
      (status === 'all' || (status === undefined ? it.status !== 'canceled' : it.status === status)),
  ),
  endpoint('GET', '/v1/subscriptions/:id', {}, ({ store }, _params, [id = '']) => store.get('subscription', id)),
  endpoint(
    'POST',
    '/v1/subscriptions/:id',
    {
      items: z
        .array(z.strictObject({ id: f.text, price: f.text.optional(), quantity: f.int.optional() }))
        .length(1)
        .optional(),
      cancel_at_period_end: f.bool.optional(),
      default_payment_method: f.text.optional(),
      proration_behavior: Proration.optional(),
      payment_behavior: PaymentBehavior.optional(),
      trial_end: f.int.optional(),
      metadata: f.metadata.optional(),
    },
    (world, params, [id = '']) => {
      const { store, emit } = world
      const subscription = store.get('subscription', id)
      if (subscription.status === 'canceled' || subscription.status === 'incomplete_expired')
        throw missing('subscription', id)
      const item = itemOf(subscription)
      const [wanted] = params.items ?? []
      if (wanted && wanted.id !== item.id) throw missing('subscription item', wanted.id, 400, 'items[0][id]')
      if (params.default_payment_method !== undefined) {
        ownMethod(store, params.default_payment_method, subscription.customer, 'default_payment_method')
        subscription.default_payment_method = params.default_payment_method
      }
      if (wanted?.price !== undefined)
        changePrice(
          world,
          subscription,
          wanted.price,
          params.proration_behavior ?? 'create_prorations',
          params.payment_behavior ?? 'allow_incomplete',
        )
      if (params.cancel_at_period_end !== undefined) {
        subscription.cancel_at_period_end = params.cancel_at_period_end
        subscription.cancel_at = params.cancel_at_period_end ? item.current_period_end : null
        subscription.canceled_at = params.cancel_at_period_end ? store.now : null
      }
      if (params.trial_end !== undefined) {
        if (params.trial_end <= store.now) throw badParam('trial_end', 'Must be in the future.')
        if (params.trial_end > store.now + 730 * DAY)
          throw badParam('trial_end', 'Must be at most two years in the future.')
        subscription.status = 'trialing'
        subscription.trial_start ??= store.now
        subscription.trial_end = params.trial_end
        item.current_period_end = params.trial_end
      }
      Object.assign(subscription.metadata, params.metadata)
      emit('customer.subscription.updated', subscription)
      return subscription
    },
  ),
  endpoint(
    'DELETE',
    '/v1/subscriptions/:id',
    {
      invoice_now: f.bool.optional(),
      prorate: f.bool.optional(),
      cancellation_details: z.strictObject({ comment: f.text.optional() }).optional(),
    },
    (world, { cancellation_details }, [id = '']) => {
      const subscription = world.store.get('subscription', id)
      const { comment = null } = cancellation_details ?? {}
      subscription.cancellation_details = { comment, feedback: null, reason: null }
      endSubscription(world, subscription)
      return subscription
    },
  ),
]
