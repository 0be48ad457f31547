import { z } from 'zod'
import { endpoint, listEndpoint } from './endpoint.ts'
import { badParam, StripeFailure } from './failure.ts'
import { f } from './form.ts'
import type { Coupon, Price, Product, PromotionCode } from './types.ts'

const Recurring = z.strictObject({
  interval: z.enum(['day', 'week', 'month', 'year']),
  interval_count: f.int.optional(),
})

/** Products, prices, coupons and promotion codes. */
export const catalogueEndpoints = [
  endpoint(
    'POST',
    '/v1/products',
    {
      id: f.text.optional(),
      name: f.text,
      active: f.bool.optional(),
      description: f.text.optional(),
      metadata: f.metadata.optional(),
    },
    ({ store, emit }, { id = store.newId('product'), name, active = true, metadata = {} }) => {
      if (store.find('product', id))
        throw new StripeFailure(400, {
          type: 'invalid_request_error',
          code: 'resource_already_exists',
          param: 'id',
          message: 'Product already exists.',
        })
      const product = store.add<Product>({
        id,
        object: 'product',
        created: store.now,
        livemode: false,
        active,
        name,
        metadata,
      })
      emit('product.created', product)
      return product
    },
  ),
  endpoint('GET', '/v1/products/:id', {}, ({ store }, _params, [id = '']) => store.get('product', id)),
  endpoint(
    'POST',
    '/v1/prices',
    {
      currency: f.currency,
      unit_amount: f.int.optional(),
      product: f.text,
      recurring: Recurring,
      lookup_key: f.text.max(200).optional(),
      transfer_lookup_key: f.bool.optional(),
      nickname: f.text.optional(),
      metadata: f.metadata.optional(),
    },
    ({ store, emit }, params) => {
      store.get('product', params.product, 'product')
      if (params.unit_amount === undefined)
        throw badParam('unit_amount', 'Missing required param: unit_amount.', 'parameter_missing')
      if (params.unit_amount < 0 || params.unit_amount > 99_999_999)
        throw badParam('unit_amount', 'This value must be between 0 and 99999999.')
      const holder = store.all('price', ({ lookup_key }) => lookup_key !== null && lookup_key === params.lookup_key)[0]
      if (holder && !params.transfer_lookup_key)
        throw badParam('lookup_key', 'A price already uses that lookup key.', 'resource_already_exists')
      if (holder) holder.lookup_key = null
      const price = store.add<Price>({
        id: store.newId('price'),
        object: 'price',
        created: store.now,
        livemode: false,
        active: true,
        currency: params.currency,
        unit_amount: params.unit_amount,
        product: params.product,
        lookup_key: params.lookup_key ?? null,
        type: 'recurring',
        recurring: {
          interval: params.recurring.interval,
          interval_count: params.recurring.interval_count ?? 1,
          usage_type: 'licensed',
        },
        metadata: params.metadata ?? {},
      })
      emit('price.created', price)
      return price
    },
  ),
  endpoint('GET', '/v1/prices/:id', {}, ({ store }, _params, [id = '']) => store.get('price', id)),
  endpoint(
    'POST',
    '/v1/coupons',
    {
      percent_off: f.int.optional(),
      amount_off: f.int.optional(),
      currency: f.currency.optional(),
      duration: z.enum(['once', 'forever']).optional(),
    },
    ({ store }, { percent_off = null, amount_off = null, currency = null, duration = 'once' }) => {
      if ((percent_off === null) === (amount_off === null))
        throw badParam('percent_off', 'Exactly one of percent_off and amount_off is needed.')
      return store.add<Coupon>({
        id: store.newId('coupon'),
        object: 'coupon',
        created: store.now,
        livemode: false,
        percent_off,
        amount_off,
        currency,
        duration,
        valid: true,
      })
    },
  ),
  endpoint(
    'POST',
    '/v1/promotion_codes',
    { promotion: z.strictObject({ type: z.literal('coupon'), coupon: f.text }), code: f.text.optional() },
    ({ store }, { promotion, code }) => {
      store.get('coupon', promotion.coupon, 'promotion[coupon]')
      const id = store.newId('promotion_code')
      return store.add<PromotionCode>({
        id,
        object: 'promotion_code',
        created: store.now,
        livemode: false,
        active: true,
        code: code ?? id.slice(-8).toUpperCase(),
        promotion,
      })
    },
  ),
  listEndpoint(
    '/v1/promotion_codes',
    'promotion_code',
    { code: f.text.optional(), active: f.bool.optional() },
    (it, { code, active }) =>
      (code === undefined || it.code.toLowerCase() === code.toLowerCase()) &&
      (active === undefined || it.active === active),
  ),
]
