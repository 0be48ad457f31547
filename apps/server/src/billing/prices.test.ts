import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '../platform/log.ts'
import { adoptConfiguredPrices } from './prices.ts'
import { openStripe } from './stripe.ts'
import { house, type House } from './testing/house.ts'

type Recurring = { interval: 'month' | 'year'; interval_count?: number }

/** What an operator does: a price made at Stripe, its id in the environment; then the service starts. */
async function operator(h: House) {
  const { sdk } = openStripe({ key: h.standin.apiKey, base: h.standin.base })
  const product = await sdk.products.create({ name: 'Premium' })
  return {
    make: async (unit_amount: number, recurring: Recurring): Promise<string> =>
      (await sdk.prices.create({ product: product.id, currency: 'usd', unit_amount, recurring })).id,
    start: (ids: { STRIPE_MONTHLY_PRICE_ID?: string; STRIPE_YEARLY_PRICE_ID?: string }) =>
      adoptConfiguredPrices(h.sql, sdk, ids as never, createLog('silent')),
  }
}
const priceOf = async (h: House, plan: string): Promise<number> =>
  (await h.call('GET', '/subscriptions/plans', null)).body.plans.find(({ id }: { id: string }) => id === plan).price

test('a configured price is taken once: what staff set after it stays through the next start', async (t) => {
  const h = await house(t, { jobs: false })
  const at = await operator(h)
  const STRIPE_MONTHLY_PRICE_ID = await at.make(1234, { interval: 'month' })
  await at.start({ STRIPE_MONTHLY_PRICE_ID })
  assert.equal(await priceOf(h, 'premium_monthly'), 12.34)
  const staff = await h.user()
  const prices = [{ currency: 'USD', amount: 15 }]
  await h.call('PUT', '/admin/plans/premium_monthly', staff, { prices }, { role: 'admin' })
  await at.start({ STRIPE_MONTHLY_PRICE_ID })
  assert.equal(await priceOf(h, 'premium_monthly'), 15)
  await at.start({ STRIPE_MONTHLY_PRICE_ID: await at.make(1111, { interval: 'month' }) })
  assert.equal(await priceOf(h, 'premium_monthly'), 11.11)
})

test('instances that start at once take a configured price once', async (t) => {
  const h = await house(t, { jobs: false })
  const at = await operator(h)
  const STRIPE_MONTHLY_PRICE_ID = await at.make(1234, { interval: 'month' })
  await Promise.all(Array.from({ length: 5 }, () => at.start({ STRIPE_MONTHLY_PRICE_ID })))
  assert.equal(await priceOf(h, 'premium_monthly'), 12.34)
})

test('a price of another period is not taken, and a year may be told as twelve months', async (t) => {
  const h = await house(t, { jobs: false })
  const at = await operator(h)
  await at.start({
    STRIPE_MONTHLY_PRICE_ID: await at.make(2500, { interval: 'month', interval_count: 3 }),
    STRIPE_YEARLY_PRICE_ID: await at.make(9000, { interval: 'year', interval_count: 2 }),
  })
  assert.deepEqual([await priceOf(h, 'premium_monthly'), await priceOf(h, 'premium_yearly')], [9.99, 79.99])
  await at.start({ STRIPE_YEARLY_PRICE_ID: await at.make(9000, { interval: 'month', interval_count: 12 }) })
  assert.equal(await priceOf(h, 'premium_yearly'), 90)
})
