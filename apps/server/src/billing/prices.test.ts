import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '../platform/log.ts'
import { adoptConfiguredPrices } from './prices.ts'
import { emptyState, type State } from './standin/store.ts'
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

test('a price that is named again, after another one, is in force again', async (t) => {
  const h = await house(t, { jobs: false })
  const at = await operator(h)
  const [first, second] = [await at.make(1200, { interval: 'month' }), await at.make(1300, { interval: 'month' })]
  for (const [STRIPE_MONTHLY_PRICE_ID, shown] of [
    [first, 12],
    [second, 13],
    [first, 12],
  ] as const) {
    await at.start({ STRIPE_MONTHLY_PRICE_ID })
    assert.equal(await priceOf(h, 'premium_monthly'), shown)
  }
  const rows = await h.sql`select stripe_price_id from plan_prices where plan_id = 'premium_monthly' and is_current`
  assert.deepEqual([...rows], [{ stripe_price_id: first }])
})

test("back at the account before, its configured price is charged and not the other account's", async (t) => {
  const h = await house(t)
  const home = (key: string) => ({ key, state: emptyState(0) })
  const charged: number[] = []
  const prices = new Map<State, string>()
  const [one, two] = [home('sk_test_one'), home('sk_test_two')]
  for (const [account, amount] of [
    [one, 1200],
    [two, 1300],
    [one, 1200],
  ] as const) {
    await h.restart(account)
    await h.billing.move()
    const id = prices.get(account.state) ?? (await (await operator(h)).make(amount, { interval: 'month' }))
    account.state = h.standin.store.state
    prices.set(account.state, id)
    await h.restart(undefined, { STRIPE_MONTHLY_PRICE_ID: id })
    const method = h.standin.card()
    const body = { plan_id: 'premium_monthly', payment_method_id: method }
    assert.equal((await h.call('POST', '/subscriptions/subscribe', await h.user(), body)).status, 201)
    charged.push(h.standin.store.all('charge')[0]?.amount ?? 0)
  }
  assert.deepEqual(charged, [1200, 1300, 1200])
})

/** Waits until it holds. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await holds()); tries++) {
    assert.ok(tries < 100, what)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('a configured price that could not be read at the start is taken as soon as Stripe answers', async (t) => {
  const h = await house(t, { jobs: false })
  const STRIPE_MONTHLY_PRICE_ID = await (await operator(h)).make(1234, { interval: 'month' })
  h.standin.fault = () => 'refuse'
  await h.restart(undefined, { STRIPE_MONTHLY_PRICE_ID })
  assert.deepEqual([h.billing.enabled(), await priceOf(h, 'premium_monthly')], [true, 9.99])
  h.standin.fault = () => undefined
  await until('the price is not taken', async () => (await priceOf(h, 'premium_monthly')) === 12.34)
})

test('a configured price that does not exist hides no other one', async (t) => {
  const h = await house(t, { jobs: false })
  const at = await operator(h)
  await at.start({
    STRIPE_MONTHLY_PRICE_ID: 'price_of_nobody',
    STRIPE_YEARLY_PRICE_ID: await at.make(9000, { interval: 'year' }),
  })
  assert.deepEqual([await priceOf(h, 'premium_monthly'), await priceOf(h, 'premium_yearly')], [9.99, 90])
})

test('what waited for billing is queued again as soon as the database lets it', async (t) => {
  const h = await house(t, { jobs: false })
  await h.sql`
    insert into billing_events (id, type, object_id, created_at, received_at)
    values ('evt_that_waited', 'refund.updated', 're_1', now(), now() - interval '1 hour')`
  const isQueued = async () =>
    (await h.owner`select from graphile_worker._private_jobs where key = 'billing.resolve:evt_that_waited'`).length ===
    1
  await h.owner.unsafe('revoke select on billing_events from prime_app')
  await h.restart()
  assert.deepEqual([h.billing.enabled(), await isQueued()], [true, false])
  await h.owner.unsafe('grant select on billing_events to prime_app')
  await until('it is not queued', isQueued)
})

test('a configured price that is of another plan of ours changes nothing', async (t) => {
  const h = await house(t, { jobs: false })
  const staff = await h.user()
  const plan = {
    id: 'family',
    name: 'Family',
    tier: 'premium',
    billing_period: 'monthly',
    max_devices: 9,
    max_connections: 9,
    streaming_support: false,
    features: [],
    trial_days: 0,
    position: 9,
    is_active: true,
    prices: [{ currency: 'USD', amount: 5 }],
  }
  assert.equal((await h.call('POST', '/admin/plans', staff, plan, { role: 'admin' })).status, 201)
  await h.billing.syncPlans()
  const rows = () => h.sql`select plan_id, stripe_price_id, is_current from plan_prices order by plan_id, id`
  const before = [...(await rows())]
  const STRIPE_MONTHLY_PRICE_ID: string = before.find(({ plan_id }) => plan_id === 'family')?.stripe_price_id
  await h.restart(undefined, { STRIPE_MONTHLY_PRICE_ID })
  assert.deepEqual([...(await rows())], before)
  assert.deepEqual([await priceOf(h, 'premium_monthly'), await priceOf(h, 'family')], [9.99, 5])
  const body = { plan_id: 'premium_monthly', payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', await h.user(), body)).status, 201)
})
