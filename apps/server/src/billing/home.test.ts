import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emptyState, type State } from './standin/store.ts'
import { aPayer, house, type House } from './testing/house.ts'

const admin = { role: 'admin' } as const

/** The key of another account, and a start with it. @returns what the one before had */
async function moveTo(h: House, state: State): Promise<State> {
  await h.settle()
  const before = h.standin.store.state
  h.standin.store.state = { ...state, now: before.now }
  await h.billing.start('http://127.0.0.1:1')
  await h.settle()
  return before
}
const statusOf = async (h: House, user: string) => (await h.call('GET', '/subscriptions/status', user)).body
const buy = (h: House, user: string) =>
  h.call('POST', '/subscriptions/subscribe', user, {
    plan_id: 'premium_monthly',
    payment_method_id: h.standin.card(),
  })

test('with the key of another account of Stripe everybody can buy there, also who was a customer of the one before', async (t) => {
  const h = await house(t)
  const [paid, gone, fresh] = [await aPayer(h), await aPayer(h), await h.user()]
  const staff = await h.user()
  await h.call('PUT', `/admin/users/${gone}/subscription`, staff, { action: 'cancel' }, admin)
  const { end_date } = await statusOf(h, paid)
  await moveTo(h, emptyState(0))
  for (const user of [fresh, gone]) {
    const bought = await buy(h, user)
    assert.deepEqual([bought.status, bought.body.status], [201, 'active'])
  }
  assert.equal(h.standin.store.all('subscription').length, 2)
  // What was paid for at the old one still counts, and then makes room.
  const now = await statusOf(h, paid)
  assert.deepEqual([now.plan, now.end_date, now.auto_renew], ['premium_monthly', end_date, false])
  await h.days(32)
  assert.equal((await h.entitlement(paid)).tier, 'free')
  assert.equal((await buy(h, paid)).status, 201)
})

test('back at the account before, its ids and what stands there count again', async (t) => {
  const h = await house(t)
  const [user, fresh] = [await aPayer(h), await h.user()]
  const before = await statusOf(h, user)
  const ids = async () => ({
    prices: [
      ...(await h.sql`select id, stripe_price_id from plan_prices where stripe_price_id is not null order by id`),
    ],
    customers: [...(await h.sql`select id, stripe_customer_id from billing_customers where user_id = ${user}`)],
  })
  const known = await ids()
  const old = await moveTo(h, emptyState(0))
  assert.equal((await buy(h, fresh)).status, 201)
  await h.settle()
  await moveTo(h, old)
  assert.deepEqual(await ids(), known)
  assert.deepEqual(await statusOf(h, user), before)
  const [aside] = await h.sql`select count(*)::int as n from billing_ids_aside where home like 'acct_%:test'`
  assert.equal(aside?.n, 2)
})

test('staff can end a plan that was paid at another account of Stripe', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  await moveTo(h, emptyState(0))
  const act = () => h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'cancel' }, admin)
  assert.deepEqual([(await act()).body.plan, (await h.entitlement(user)).tier], ['free', 'free'])
  assert.equal((await buy(h, user)).status, 201)
})

test('a start with the same key changes nothing, and one while Stripe is away neither', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const before = await statusOf(h, user)
  const { state } = h.standin.store
  await moveTo(h, state)
  h.standin.fault = () => 'refuse'
  await moveTo(h, state)
  h.standin.fault = () => undefined
  assert.deepEqual(await statusOf(h, user), before)
  assert.equal((await h.sql`select from billing_ids_aside`).length, 0)
})
